import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../base/errors.js'
import { writeDurably } from './write-durably.js'

/** An image that this host's cache may hold writes for. */
export interface ListedImage {
  /** Absolute; of a file or a block device. */
  readonly path: string
  readonly disk: string
}

/**
 * The images that may lack writes, in a file of the supervisor: so that it locks them again after a reboot, before there is an engine
 * and a state database. The libvirt hook reads it too: a block device has no stamp beside it.
 */
export interface ImageLockList {
  /** Nothing where there is no such file. Lines that cannot be understood are left out. */
  read(): Promise<ListedImage[]>
  /** On stable storage when it ends. */
  write(images: readonly ListedImage[]): Promise<void>
}

const WORDS = [
  'Disk images and devices that may lack writes: a cache of this host holds them. One on each line: disk, tab, path.',
  'The supervisor of vmcache locks them, and its hook keeps libvirt from starting virtual machines on them.',
  'It is kept by the supervisor: a line goes when the image is complete, see: vmcache disk flush, vmcache cache detach.',
]

export function imageLockListPath(stateDir: string): string {
  return join(stateDir, 'image-locks')
}

export function imageLockList(stateDir: string): ImageLockList {
  const path = imageLockListPath(stateDir)
  return {
    async read() {
      try {
        return parseImageLockList(await readFile(path, 'utf8'))
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return []
        throw error
      }
    },
    write: (images) => writeDurably(path, formatImageLockList(images)),
  }
}

/** Paths and names with a control character cannot be listed; {@link isListable} says so. */
export function formatImageLockList(images: readonly ListedImage[]): string {
  return [...WORDS.map((line) => `# ${line}`), ...images.map(({ disk, path }) => `${disk}\t${path}`), ''].join('\n')
}

export function parseImageLockList(text: string): ListedImage[] {
  return text.split('\n').flatMap((line) => {
    const match = /^([^\t#][^\t]*)\t(\/.*)$/.exec(line)
    return match === null ? [] : [{ disk: match[1]!, path: match[2]! }]
  })
}

export function isListable({ disk, path }: ListedImage): boolean {
  return path.startsWith('/') && !/\p{Cc}/u.test(disk + path)
}

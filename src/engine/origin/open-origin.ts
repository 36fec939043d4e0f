import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { ORIGIN_FILE_CALLS } from '../../model/configuration.js'
import { openBlockOrigin } from './block-origin.js'
import { openFileOrigin } from './file-origin.js'
import { IMAGE_FORMAT_BYTES, imageFormatOf } from './image-format.js'
import { limitOrigin } from './limit.js'
import { looksLikeNbdUri, parseNbdUri } from './nbd-uri.js'
import type { OpenOriginOptions } from './open-origin-file.js'
import type { Origin, OriginDescription } from './origin.js'
import { originOpenError } from './origin-failure.js'

export type OriginKind = OriginDescription['kind']

/**
 * Calls in flight for each origin. Eight threads of the pool keep a disk or an NFS server busy, and a hundred hung origins
 * then hold 800 of the 1,024 threads that the pool can have. Calls to NBD origins need no threads, only memory.
 */
const CALLS_IN_FLIGHT: Readonly<Record<OriginKind, number>> = {
  file: ORIGIN_FILE_CALLS,
  block: ORIGIN_FILE_CALLS,
  nbd: 64,
}

const OPENERS: Readonly<Record<OriginKind, (uri: string, options: OpenOriginOptions) => Promise<Origin>>> = {
  file: openFileOrigin,
  block: openBlockOrigin,
  nbd: async (uri, options) => (await import('./nbd-origin.js')).openNbdOrigin(uri, options),
}

/** The one spelling of an origin: the canonical NBD URI, or an absolute path. BAD_URI for what is neither. */
export function canonicalOrigin(text: string): string {
  if (looksLikeNbdUri(text)) return parseNbdUri(text).canonical
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]
  if (scheme === undefined && text !== '' && !text.includes('\0')) return resolve(text)
  throw new VmcacheError('BAD_URI', `${JSON.stringify(text)} is no origin: a path or an NBD URI is expected`, {
    hint: 'qemu-nbd and qemu-storage-daemon put other storage behind an NBD URI',
    details: { origin: text },
  })
}

/**
 * Opens the primary storage of a disk, behind a limit of its calls in flight. `text` is a path (made absolute) or an NBD
 * URI. Rejects with VmcacheError ORIGIN_NOT_FOUND, DENIED, ORIGIN_SIZE, ORIGIN_FAILED, BAD_URI, or REFUSED for what is no raw
 * disk: directories, FIFOs, and images in a format of their own, unless `imageFormatAllowed` says that the format is read
 * above us (by a QEMU that uses the disk). `fileCallsInFlight` replaces the limit for files and block devices.
 */
export async function openOrigin(
  text: string,
  options: OpenOriginOptions & { readonly imageFormatAllowed?: boolean; readonly fileCallsInFlight?: number },
): Promise<Origin> {
  const uri = canonicalOrigin(text)
  const kind = looksLikeNbdUri(uri) ? 'nbd' : await kindOf(uri)
  const opened = await OPENERS[kind](uri, { readOnly: options.readOnly })
  const callsInFlight = kind === 'nbd' ? undefined : options.fileCallsInFlight
  const origin = limitOrigin(opened, callsInFlight ?? CALLS_IN_FLIGHT[kind])
  if (kind !== 'nbd' && options.imageFormatAllowed !== true) await refuseImageFormat(origin)
  return origin
}

async function kindOf(path: string): Promise<'file' | 'block'> {
  const stats = await stat(path).catch((error: unknown) => {
    throw originOpenError(path, error)
  })
  if (stats.isFile()) return 'file'
  if (stats.isBlockDevice()) return 'block'
  throw new VmcacheError(
    'REFUSED',
    `cannot use origin ${path}: it is ${nameOf(stats)}; a file or a block device is expected`,
    {
      details: { origin: path },
      ...(stats.isSocket() ? { hint: `if an NBD server listens there: nbd+unix:///?socket=${path}` } : {}),
    },
  )
}

function nameOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory'
  if (stats.isFIFO()) return 'a FIFO'
  return stats.isSocket() ? 'a socket' : 'a character device'
}

async function refuseImageFormat(origin: Origin): Promise<void> {
  const { uri, logicalBlockBytes } = origin.description
  const beginning = Buffer.alloc(Math.max(IMAGE_FORMAT_BYTES, logicalBlockBytes))
  const format = await origin.read(0, beginning).then(
    () => imageFormatOf(beginning),
    async (error: unknown) => {
      await origin.close(0)
      throw originOpenError(uri, error)
    },
  )
  if (format === null) return
  await origin.close(0)
  throw new VmcacheError('REFUSED', `cannot use origin ${uri}: it is a ${format} image, not a raw disk`, {
    hint: `attach it through qemu-nbd: qemu-nbd -t -f ${format} -k SOCKET ${uri}, and then nbd+unix:///?socket=SOCKET`,
    details: { origin: uri, format },
  })
}

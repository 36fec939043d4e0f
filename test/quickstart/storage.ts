import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { access, cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { archive, type Entry } from '../support/guest/cpio.js'
import { must, until } from '../support/processes.js'
import { findProgram } from '../support/programs.js'

const MEBIBYTE = 1024 * 1024

/** How much of real files the disk holds. */
const FILE_BYTES = 32 * MEBIBYTE
export const FILE_SYSTEM_BYTES = 56 * MEBIBYTE
/** The image goes on behind the file system, for clients that mount nothing and yet want to write. */
export const IMAGE_BYTES = FILE_SYSTEM_BYTES + MEBIBYTE

/** Directories of this repository that the files come from: there is no machine that runs this and lacks them. */
const SOURCES = ['src', 'test', 'bin', 'node_modules']

/** A disk image with real files on it. */
export interface Image {
  readonly files: number
  /** Bytes in these files. */
  readonly bytes: number
  /** An ext4 file system to mount, or a cpio archive of the files where mke2fs is not installed. */
  readonly kind: 'ext4' | 'archive'
}

export async function makeImage(image: string, root: string): Promise<Image> {
  const mke2fs = findProgram('mke2fs')
  const { paths, bytes } = await someFiles(root)
  if (mke2fs === null) await makeArchive(image, root, paths)
  else await makeFileSystem(mke2fs, image, root, paths)
  await truncate(image, IMAGE_BYTES)
  return { files: paths.length, bytes, kind: mke2fs === null ? 'archive' : 'ext4' }
}

/** Paths of files below `root` that make up as much of {@link FILE_BYTES} as fits. */
async function someFiles(root: string): Promise<{ paths: string[]; bytes: number }> {
  const paths: string[] = []
  let bytes = 0
  for (const path of await filesBelow(root)) {
    const { size } = await stat(join(root, path))
    if (bytes + size > FILE_BYTES) continue
    paths.push(path)
    bytes += size
  }
  return { paths, bytes }
}

async function makeFileSystem(mke2fs: string, image: string, root: string, paths: readonly string[]): Promise<void> {
  const staging = `${image}.files`
  for (const path of paths) {
    await mkdir(join(staging, path, '..'), { recursive: true })
    await cp(join(root, path), join(staging, path))
  }
  await must(mke2fs, ['-q', '-t', 'ext4', '-d', staging, image, `${FILE_SYSTEM_BYTES / 1024}k`])
  await rm(staging, { recursive: true })
}

async function makeArchive(image: string, root: string, paths: readonly string[]): Promise<void> {
  const entries: Entry[] = []
  for (const name of paths) entries.push({ name, mode: 0o100644, bytes: await readFile(join(root, name)) })
  await writeFile(image, archive(entries))
}

async function filesBelow(root: string): Promise<string[]> {
  const found: string[] = []
  for (const source of SOURCES) {
    for (const entry of await readdir(join(root, source), { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) found.push(join(entry.parentPath, entry.name).slice(root.length + 1))
    }
  }
  return found
}

/** Storage that takes its time: an NBD server over `image` that delays each request. */
export interface SlowStorage {
  readonly uri: string
  readonly socket: string
  readonly description: string
  /** For `--keep`: what to kill in the end. */
  readonly pid: number
  stop(): void
}

export async function startSlowStorage(image: string, socket: string, delayMilliseconds: number): Promise<SlowStorage> {
  const nbdkit = findProgram('nbdkit')
  const delay = `${delayMilliseconds}ms`
  const [description, program, ...args] =
    nbdkit === null
      ? [
          'an NBD server of our own',
          process.execPath,
          join(import.meta.dirname, 'slow-server.js'),
          image,
          socket,
          String(delayMilliseconds),
        ]
      : ['nbdkit', nbdkit, '-f', '-U', socket, '--filter=delay', 'file', image, `rdelay=${delay}`, `wdelay=${delay}`]
  const child: ChildProcess = spawn(program!, args, { stdio: 'ignore', detached: true })
  await until('the slow storage', () =>
    access(socket).then(
      () => true,
      () => false,
    ),
  )
  child.unref()
  return {
    uri: `nbd+unix:///?socket=${socket}`,
    socket,
    description: `${description}, ${delayMilliseconds} ms slower per request than this machine's disk`,
    pid: child.pid!,
    stop: () => void child.kill(),
  }
}

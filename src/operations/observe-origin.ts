import { readFile, realpath, stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import type { BigIntStats } from 'node:fs'
import type { Clock } from '../base/clock.js'
import { messageOf, systemCode, VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { looksLikeNbdUri, parseNbdUri } from '../engine/origin/nbd-uri.js'
import { MAXIMUM_DISK_BYTES, SECTOR_BYTES } from '../model/geometry.js'
import { stablePath } from './stable-path.js'

/** What an origin looks like from outside, before it is opened. */
export interface ObservedOrigin {
  readonly kind: 'file' | 'block' | 'nbd'
  /** Canonical: a file's path without links, a block device's path that stays over boots, or the URI. */
  readonly uri: string
  /** Without links; of an export its URI. */
  readonly path: string
  /** Equal for two names of one origin, on this host and until it boots. */
  readonly identity: string
  /** Null for NBD: only a connection shows it. */
  readonly sizeBytes: number | null
  /** Decimal; null where there is none. */
  readonly inode: string | null
  /** Nanoseconds since 1970 in the origin's clock, decimal; null where it shows no times. */
  readonly modifiedAt: string | null
}

/** A file system that hangs is not waited for longer. */
const PATIENCE_MILLISECONDS = 10_000

/**
 * Looks at the origin that a user named. ORIGIN_NOT_FOUND where it is not there (yet), ORIGIN_SIZE where no disk has such a size,
 * ORIGIN_FAILED where the storage does not answer.
 */
export type ObserveOrigin = (origin: string) => Promise<ObservedOrigin>

export function createOriginObserver(clock: Clock): ObserveOrigin {
  // A call that hangs keeps a thread of the pool: nobody sends a second one after it.
  const underWay = new Map<string, ReturnType<typeof observePath>>()

  function observeOnce(path: string): ReturnType<typeof observePath> {
    const known = underWay.get(path)
    if (known !== undefined) return known
    const started = observePath(path).finally(() => underWay.delete(path))
    underWay.set(path, started)
    return started
  }

  return async (origin) => {
    if (looksLikeNbdUri(origin)) return observeNbd(origin)
    if (!isAbsolute(origin)) {
      throw new VmcacheError('USAGE', `origin ${JSON.stringify(origin)} is neither an absolute path nor an NBD URI`, {
        hint: 'use /PATH, nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=/PATH',
      })
    }
    const seen = await withPatience(clock, origin, observeOnce(origin))
    checkSize(origin, seen.sizeBytes)
    return seen
  }
}

function observeNbd(text: string): ObservedOrigin {
  const { canonical } = parseNbdUri(text)
  return {
    kind: 'nbd',
    uri: canonical,
    path: canonical,
    identity: canonical,
    sizeBytes: null,
    inode: null,
    modifiedAt: null,
  }
}

async function observePath(path: string): Promise<ObservedOrigin & { readonly sizeBytes: number }> {
  let status: BigIntStats
  let real: string
  try {
    real = await realpath(path)
    status = await stat(real, { bigint: true })
  } catch (error) {
    throw originError(path, error)
  }
  if (status.isFile()) {
    return {
      kind: 'file',
      uri: real,
      path: real,
      identity: `file ${status.dev} ${status.ino}`,
      sizeBytes: Number(status.size),
      inode: String(status.ino),
      modifiedAt: String(status.mtimeNs),
    }
  }
  if (!status.isBlockDevice()) {
    throw new VmcacheError('ORIGIN_FAILED', `origin ${path} is neither a file nor a block device`)
  }
  return {
    kind: 'block',
    uri: await stablePath(path),
    path: real,
    identity: `block ${status.rdev}`,
    sizeBytes: await blockDeviceBytes(path, status.rdev),
    inode: null,
    modifiedAt: null,
  }
}

async function blockDeviceBytes(path: string, rdev: bigint): Promise<number> {
  // The kernel's encoding of a device number in a stat: 12 bits of major in two parts, 20 of minor.
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n)
  try {
    return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * SECTOR_BYTES
  } catch (error) {
    throw originError(path, error)
  }
}

function originError(path: string, error: unknown): VmcacheError {
  switch (systemCode(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new VmcacheError('ORIGIN_NOT_FOUND', `origin ${path} does not exist`, {
        hint: 'check the path, and that its storage is mounted',
        cause: error,
      })
    case 'EACCES':
    case 'EPERM':
      return new VmcacheError('DENIED', `origin ${path} may not be looked at by the engine`, { cause: error })
    default:
      return new VmcacheError('ORIGIN_FAILED', `origin ${path} fails: ${messageOf(error)}`, { cause: error })
  }
}

function checkSize(origin: string, sizeBytes: number): void {
  const refuse = (seen: string) => {
    throw new VmcacheError('ORIGIN_SIZE', `origin ${origin} ${seen}`, {
      hint: `a disk has a multiple of ${SECTOR_BYTES} bytes, at most ${formatSize(MAXIMUM_DISK_BYTES)}`,
    })
  }
  if (sizeBytes === 0) refuse('is empty')
  if (sizeBytes % SECTOR_BYTES !== 0) refuse(`has ${sizeBytes} bytes, no multiple of ${SECTOR_BYTES}`)
  if (sizeBytes > MAXIMUM_DISK_BYTES)
    refuse(`has ${formatSize(sizeBytes)}, more than ${formatSize(MAXIMUM_DISK_BYTES)}`)
}

async function withPatience<Result>(clock: Clock, origin: string, work: Promise<Result>): Promise<Result> {
  let cancel = () => {}
  const timeout = new Promise<never>((_, reject) => {
    cancel = clock.after(PATIENCE_MILLISECONDS, () =>
      reject(
        new VmcacheError('ORIGIN_FAILED', `origin ${origin} does not answer for ${PATIENCE_MILLISECONDS / 1000} s`, {
          hint: 'check its storage, for example a mount of NFS',
        }),
      ),
    )
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    cancel()
  }
}

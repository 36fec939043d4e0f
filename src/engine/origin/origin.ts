/**
 * engine/origin/: the primary storage of a disk: a file, a block device or an NBD export. One file per kind; decorators
 * of the same interface add limits and faults.
 *
 * A *session* is one unbroken use of the storage behind an origin. A flush covers only what was sent in the same
 * session since its last good flush; `session` rises whenever that guarantee was lost (a reconnect, a failed flush).
 */
import type { ErrorCode } from '../../base/errors.js'

export interface OriginDescription {
  readonly kind: 'file' | 'block' | 'nbd'
  /** Canonical: an absolute path, or an NBD URI. */
  readonly uri: string
  readonly sizeBytes: number
  /** Smallest unit of a request: 512, or what the storage insists on. */
  readonly logicalBlockBytes: number
  readonly readOnly: boolean
  /** Whether trim and fast zero do anything. */
  readonly canTrim: boolean
  readonly canZero: boolean
}

/** A run of a disk as NBD's base:allocation describes it. */
export interface AllocationExtent {
  readonly length: number
  readonly hole: boolean
  readonly zero: boolean
}

/** A failure of the primary storage. `errno` is what an NBD client is told. */
export class OriginError extends Error {
  override readonly name = 'OriginError'
  readonly code: ErrorCode = 'ORIGIN_FAILED'
  constructor(
    message: string,
    readonly errno: 'EIO' | 'ENOSPC' | 'EPERM' | 'EINVAL' | 'ENOTSUP' | 'ESHUTDOWN' = 'EIO',
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/**
 * All calls may be slow and may fail with {@link OriginError}; none blocks the event loop. Offsets and lengths are
 * multiples of `logicalBlockBytes` and lie within `sizeBytes`. The caller keeps `target` and `data` untouched until
 * the call ends. Calls may complete in any order; the caller never has two overlapping writes in flight.
 */
export interface Origin {
  readonly description: OriginDescription
  readonly session: number
  read(offset: number, target: Uint8Array): Promise<void>
  write(offset: number, data: Uint8Array): Promise<void>
  /** Everything whose write had ended before this call is on stable storage when it ends, if `session` did not change. */
  flush(): Promise<void>
  /** The range may read as anything afterwards; freeing space is a hint. */
  trim(offset: number, length: number): Promise<void>
  /** The range reads as zeroes afterwards; `mayTrim` allows a hole; `fast` fails with ENOTSUP rather than write zeroes. */
  zero(offset: number, length: number, options: { mayTrim: boolean; fast: boolean }): Promise<void>
  allocation(offset: number, length: number): Promise<AllocationExtent[]>
  /** Ends after calls in flight; a hung origin is abandoned after `timeoutMilliseconds`. */
  close(timeoutMilliseconds: number): Promise<void>
}

/**
 * engine/disk/: the request paths of one virtual disk, between its NBD connections and its log and origin.
 *
 * A {@link ServedDisk} is what a connection talks to. It knows nothing of NBD; a connection knows nothing of caching.
 */
import type { AllocationExtent } from '../origin/origin.js'

/** A request that the disk refuses or fails; `errno` is what the client is told. */
export class DiskError extends Error {
  override readonly name = 'DiskError'
  constructor(
    readonly errno: 'EIO' | 'ENOSPC' | 'EPERM' | 'EINVAL' | 'ENOTSUP' | 'ESHUTDOWN' | 'ENOMEM',
    message: string,
  ) {
    super(message)
  }
}

export interface ServedDisk {
  readonly name: string
  readonly sizeBytes: number
  readonly readOnly: boolean
  /** Requests are multiples of it; anything else is EINVAL (checked by the connection). */
  readonly minimumBlockBytes: number
  readonly preferredBlockBytes: number
  readonly canTrim: boolean
  readonly canZero: boolean

  /**
   * The hit path: if all of [offset, offset+length) is cached and can be had without waiting, copies it to `target` at
   * `at` and returns true; else returns false and has done nothing. Allocates nothing.
   */
  tryRead(offset: number, length: number, target: Buffer, at: number): boolean
  /** Reads by whatever way it takes. Rejects with DiskError or OriginError. */
  read(offset: number, length: number, target: Buffer, at: number): Promise<void>
  /**
   * Begins a write if nothing is to be waited for before it is under way; else returns false and has done nothing. `written` is called once,
   * with the error where there is one, after this has returned; `data` stays untouched until then.
   */
  tryWrite(offset: number, data: Buffer, written: (error: Error | undefined) => void): boolean
  /** Writes by whatever way it takes; `data` stays untouched until the promise ends. */
  write(offset: number, data: Buffer, fua: boolean): Promise<void>
  flush(): Promise<void>
  trim(offset: number, length: number, fua: boolean): Promise<void>
  zero(offset: number, length: number, options: { mayTrim: boolean; fast: boolean; fua: boolean }): Promise<void>
  /** Brings the range into the cache (NBD_CMD_CACHE). */
  prefetch(offset: number, length: number): Promise<void>
  allocation(offset: number, length: number): Promise<AllocationExtent[]>
}

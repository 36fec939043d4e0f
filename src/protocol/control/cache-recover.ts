import type { ErrorDocument } from '../../base/errors.js'

/** What `vmcache cache recover` wrote to the origins of a cache that no engine has open. */
export interface CacheRecoverDocument {
  cache: string
  cacheId: string
  changed: boolean
  dryRun?: boolean
  /** Disks that hold, or held, what their origins lack. */
  disks: RecoveredDisk[]
}

export interface RecoveredDisk {
  disk: string
  logId: string
  origin: string
  /** What its origin lacked; what it lacks still where `ok` is false. */
  dirtyBytes: number
  newestWriteAt: string
  writtenBytes: number
  /** Pages (4 KiB, counted from the disk's phase) whose last version could not be read: the origin has an older one. */
  lostPages: number[]
  ok: boolean
  error: ErrorDocument | null
}

/** What `vmcache cache check` found on the devices of a cache that no engine has open. */
export interface CacheCheckDocument {
  /** Name of the cache, as its superblocks have it. */
  cache: string
  cacheId: string
  devices: CheckedDevice[]
  chunks: {
    total: number
    /** With a free header, or never used. */
    free: number
    /** Part of a log. */
    log: number
    /** Part of a checkpoint. */
    checkpoint: number
    /** Of a log or a checkpoint, and no part of it any more: the next opening gives them back. */
    left: number
    damaged: number
  }
  logs: CheckedLog[]
  checkpoints: CheckedCheckpoint[]
  findings: CheckFinding[]
  /** How many findings were mended. */
  repaired: number
}

export interface CheckedDevice {
  id: string
  path: string
  sizeBytes: number
  chunks: number
}

export interface CheckedLog {
  logId: string
  disk: string
  origin: string
  /** How it was left: `closed` cleanly, by a kill of its engine or by a power cut since which nobody opened it. */
  end: 'empty' | 'closed' | 'killed' | 'power-cut'
  chunks: number
  /** Pages and other entries in its chunks, old versions included. */
  entries: number
  lastWrittenAt: string | null
}

export interface CheckedCheckpoint {
  /** Its id. */
  checkpoint: string
  /** What the VM was called; empty where that cannot be read. */
  vm: string
  /** Length of its stream. */
  bytes: number
  /** Those that were found. */
  chunks: number
  createdAt: string
}

export interface CheckFinding {
  /** Path of the device. */
  device: string
  /** Number of the chunk on its device; null where it is about the device. */
  chunk: number | null
  kind:
    | 'device-missing'
    | 'superblock'
    | 'chunk-header'
    | 'chunk-names'
    | 'left-chunk'
    | 'log'
    | 'frame'
    | 'page'
    | 'summary'
    | 'checkpoint'
  seen: string
  expected: string
  effect: 'harmless' | 'loses clean pages' | 'loses a checkpoint'
  repaired: boolean
}

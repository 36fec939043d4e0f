/**
 * engine/: the data plane. {@link Engine} is its face to the main thread: it opens caches, gives disks to I/O threads and
 * answers questions about them. It knows no names beyond disk and cache names, no database and no policy.
 */
import type { Mode } from '../model/mode.js'
import type { WriteBackSettings } from '../model/write-back.js'
import type { CheckpointEngine } from './checkpoint.js'
import type { CacheDocument, DiskDocument, StatsDocument, StatsWindow } from '../protocol/control/documents.js'

export interface Progress {
  (done: number, total: number | null, unit: 'bytes' | 'pages' | 'chunks' | 'items', note?: string): void
}

export interface DiskSettings {
  /** Unique on the host. */
  readonly name: string
  readonly cache: string
  /** 32 hexadecimal digits: the id of the disk's log; a disk that is attached again with the same id finds its log. */
  readonly logId: string
  /** Absolute path or NBD URI. */
  readonly origin: string
  readonly mode: Mode
  readonly replacement: string
  readonly minBytes: number
  readonly maxBytes: number | null
  readonly shares: number
  readonly readOnly: boolean
  readonly blockBytes: number
  readonly epoch: number
  /** Raw descriptor of a listening unix socket that the I/O thread accepts connections from. */
  readonly listenDescriptor: number
  /** Where clients find that socket. */
  readonly socket: string
  /** False where somebody else may have written the origin since the log was closed: clean pages are dropped. */
  readonly trustCleanPages: boolean
  /** Everything on record says that the origin lacks nothing: what a log of an older epoch has is needed by nobody. */
  readonly originIsWhole: boolean
  /**
   * Why the disk is served from its origin without a log, state `direct`, until {@link Engine.resumeLog}; null where its cache is open. Its
   * epoch has been raised, so that the log that it may have somewhere is never believed again.
   */
  readonly withoutLog: string | null
  /** True for a disk that was attached before: its guest may have written anything where image formats have their magic numbers. */
  readonly imageFormatAllowed: boolean
  /** How what is dirty goes to the origin, for a disk in write-back. */
  readonly writeBack: WriteBackSettings
}

export interface CacheSettings {
  readonly name: string
  readonly devices: readonly string[]
}

/** The status that the engine itself knows; names of hosts, leases and VMs are added by the caller. */
export type EngineCache = Omit<CacheDocument, 'host' | 'scope' | 'disks'>
export type EngineDisk = Omit<DiskDocument, 'vm' | 'target' | 'lease' | 'uri' | 'lacksWrites' | 'allocation'>

/** What a device says of itself; null where it is not a vmcache device. */
export interface DeviceIdentity {
  readonly cacheName: string
  readonly cacheId: string
  readonly deviceId: string
  readonly createdAt: string
}

/** A log that was found on a cache's devices, for `cache import`. */
export interface FoundLog {
  readonly logId: string
  readonly disk: string
  readonly origin: string
  readonly sizeBytes: number
  readonly epoch: number
}

/** What a log that is not served holds that its origin lacks. */
export interface DirtyLog {
  readonly dirtyBytes: number
  /** When its newest frame was written, in milliseconds since 1970. */
  readonly newestFrameAt: number
  /** Something of it cannot be read back. */
  readonly isDamaged: boolean
}

/** What was written of a log to its origin. */
export interface DestagedLog {
  readonly writtenBytes: number
  /** Pages (4 KiB) of the disk, counted from its phase, whose last version could not be read: the origin has an older one. */
  readonly lostPages: readonly number[]
  /** Places where whole frames could not be read: nobody knows what they held. */
  readonly damages: number
}

/** What a scrub found of a disk. Pages have 4 KiB and are counted from the disk's phase. */
export interface ScrubbedDisk {
  readonly disk: string
  /** Pages that were read back. */
  readonly pages: number
  /** Clean pages that were bad and were read from the origin again. */
  readonly repairedPages: number
  /** Clean pages that were bad and are not cached any more: the origin was not there, or there was no room. */
  readonly droppedPages: number
  /** Pages that are bad and that the origin lacks. */
  readonly damagedPages: readonly number[]
}

export interface Engine extends CheckpointEngine {
  readonly ioThreads: number
  readonly ioBackend: string
  /** Writes superblocks on empty devices; refuses what holds anything (DEVICE_NOT_EMPTY) unless `force`. Creates missing files of the given size. */
  createCache(
    settings: {
      name: string
      blockBytes: number
      chunkBytes: number
      devices: readonly { path: string; sizeBytes: number | null }[]
    },
    options: { force: boolean; dryRun: boolean; progress: Progress; signal: AbortSignal },
  ): Promise<{ cacheId: string; devices: DeviceIdentity[]; indexBytes: number; steps: string[] }>
  /** What the superblock of a device says; null where it holds no vmcache device. Reads only; DEVICE_NOT_FOUND where there is nothing at `path`. */
  identify(path: string): Promise<DeviceIdentity | null>
  /**
   * Opens with all devices. With `allowMissing` some may be missing: any log may have had chunks there, so nothing that is cached is
   * kept, and whoever attaches a disk raises its epoch first.
   */
  openCache(settings: CacheSettings, options: { allowMissing: boolean }): Promise<EngineCache>
  /** Every log that has chunks in the open cache and whose disk is not attached. */
  logsOf(cache: string): Promise<FoundLog[]>
  /**
   * When the newest frame of such a log was written, in milliseconds since 1970; null where there is no such log. Reads as much of it as
   * a recovery does before the first answer.
   */
  newestFrameAt(cache: string, logId: string): Promise<number | null>
  /** What such a log holds that its origin lacks; null where there is no such log. Reads as {@link newestFrameAt} does. */
  dirtyOf(cache: string, logId: string): Promise<DirtyLog | null>
  /**
   * Writes what such a log holds to its origin, in the order of the log, also past damage, and frees its chunks. What was written stays
   * written where it fails or is cancelled. ORIGIN_SIZE where the origin is another image.
   */
  destageLog(
    cache: string,
    logId: string,
    options: { disk: string; epoch: number; origin: string; progress: Progress; signal: AbortSignal },
  ): Promise<DestagedLog>
  /** Frees the chunks of a log of an open cache whose disk is not attached; does nothing where there is no such log. */
  discardLog(cache: string, logId: string): Promise<void>
  /**
   * Reads back what is cached of every served disk, past all caches in memory, and mends what is clean; gives way to guests. Where
   * `bytesPerSecond` is null as fast as is polite. DEVICE_FAILED where a device cannot be read; INTERRUPTED.
   */
  scrub(
    cache: string,
    options: { bytesPerSecond: number | null; progress: Progress; signal: AbortSignal },
  ): Promise<ScrubbedDisk[]>
  /**
   * Prepares a device and takes it up into an open cache; refuses what holds anything (DEVICE_NOT_EMPTY) unless `force`. `record` writes down
   * that the cache has the device: called once, when the device is ready and no other one names it yet. Where it rejects nothing has changed.
   */
  addDevice(
    cache: string,
    device: { path: string; sizeBytes: number | null },
    options: {
      force: boolean
      dryRun: boolean
      progress: Progress
      signal: AbortSignal
      record: (device: EngineCache['devices'][number]) => Promise<void>
    },
  ): Promise<{ steps: string[] }>
  /**
   * Moves all logs off a device, while their disks are served, and makes the cache forget it. NO_SPACE where the other devices do not hold what
   * disks are promised; REFUSED where it is the last one, or a log that is not served has something there; DIRTY_DATA where a device that is
   * not there or failed may have what an origin lacks. `flush` has the origin of a disk take what is dirty; `record` writes down that the cache
   * has not got the device any more. Where it fails, or is cancelled, before that, the cache keeps the device.
   */
  removeDevice(
    cache: string,
    deviceId: string,
    options: {
      progress: Progress
      signal: AbortSignal
      flush: (disk: string) => Promise<void>
      record: () => Promise<void>
    },
  ): Promise<void>
  closeCache(cache: string): Promise<void>
  /** Makes the devices of an open cache without attached disks unrecognisable, but for those that failed, and closes it. */
  eraseCache(cache: string): Promise<void>
  caches(): EngineCache[]
  /** Serves a disk; recovers its log first as far as the first answer needs it. */
  attach(settings: DiskSettings): Promise<EngineDisk>
  /**
   * Gives a disk in state `direct` a new, empty log in its cache, while it is served. What its old log has there is freed. `epoch` is that
   * of its stamp now.
   */
  resumeLog(disk: string, epoch: number): Promise<EngineDisk>
  /**
   * Stops serving; what the origin lacks is written first, and where that fails the disk stays served, unless `discardDirty` gives it up.
   * `keepLog` keeps the pages for the next attach, else its chunks are freed.
   */
  detach(
    disk: string,
    options: { keepLog: boolean; discardDirty: boolean; progress: Progress; signal: AbortSignal },
  ): Promise<void>
  disks(): Promise<EngineDisk[]>
  /**
   * After it the origin has everything that was acknowledged before. With `holdMilliseconds` it stays so for that long: a change is answered
   * when the origin has it.
   */
  flush(disk: string, options: { progress: Progress; signal: AbortSignal; holdMilliseconds?: number }): Promise<void>
  /** Forgets clean pages, after what is dirty went to the origin. */
  invalidate(disk: string): Promise<void>
  change(
    disk: string,
    settings: {
      mode?: Mode
      replacement?: string
      minBytes?: number
      maxBytes?: number | null
      shares?: number
      writeBack?: WriteBackSettings
    },
    options?: { progress: Progress; signal: AbortSignal },
  ): Promise<void>
  /** Ends when every thread that serves disks has answered. */
  responds(): Promise<void>
  stats(names: readonly string[], window: StatsWindow): Promise<StatsDocument>
  /** Prometheus text format. */
  metrics(): Promise<string>
  /**
   * Sets what raises the epoch of a disk in stamp and state database: called, once, before a disk whose cache device failed goes on
   * without its log. Where it rejects, the disk stops.
   */
  setEpochRaiser(raise: (disk: string) => Promise<void>): void
  /** Called when a device fails (`device.failed`), a disk leaves its log (`disk.direct`, `disk.failed`), pages are found bad (`disk.bad-pages`), a checkpoint is found damaged when its cache is opened (`checkpoint.damaged`), or a scrub finds dirty ones (`disk.damaged-pages`). */
  onEvent(listener: (event: { what: string; cache: string | null; disk: string | null; reason: string }) => void): void
  /**
   * Clean close: every log is committed, settled and marked closed; nothing is served afterwards. What origins have not taken after
   * `drainMilliseconds` stays in the logs, on stable storage; null for as long as it takes.
   */
  close(options: { drainMilliseconds: number | null }): Promise<void>
}

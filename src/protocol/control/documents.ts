/**
 * protocol/control/: the control API between the command line and the engine: HTTP and JSON on a unix socket.
 *
 * These types are the JSON contract of the command line too. Every key is always present, `null` where unknown; sizes are
 * bytes, times are RFC 3339 UTC, ratios are 0..1. Adding keys is free, changing them is not.
 */
import type { CheckpointState, ShownPlace } from '../../model/checkpoint.js'
import type { DiskPhase } from '../../model/phase.js'
import type { ModeState } from '../../model/mode.js'
import type { Level, Policy, SettingKey, SettingValue } from '../../model/policy.js'
import type { Source } from '../../model/resolve-policy.js'
import type { DriverName, ImageFormat, VmDefinition, VmState } from '../../model/vm.js'
import type { RapidSuspend, VmPolicy } from '../../model/vm-policy.js'
import type { WriteBackSettings } from '../../model/write-back.js'

export interface DeviceDocument {
  id: string
  path: string
  sizeBytes: number
  chunks: number
  state: 'ok' | 'failed' | 'missing'
  errors: number
}

export interface CacheDocument {
  name: string
  host: string
  scope: 'local' | 'shared'
  state: 'open' | 'degraded' | 'closed' | 'failed'
  blockSizeBytes: number
  chunkSizeBytes: number
  chunks: { total: number; free: number; disk: number; checkpoint: number; mirror: number; reserved: number }
  sizeBytes: number
  indexBytes: number
  dirtyBytes: number
  dirtyAgeSeconds: number | null
  devices: DeviceDocument[]
  disks: string[]
}

/**
 * `recovering`: served from the origin while the index is read; `waiting`: the origin is not there yet; `direct`: served without
 * its log; `failed`: requests fail until somebody acts (`reason` says why).
 */
export type DiskState = 'serving' | 'recovering' | 'draining' | 'waiting' | 'direct' | 'changed' | 'failed'

/**
 * What a disk has of its cache: its share and what it is promised (`full`); its share alone, as there was no room for its min when its VM was started
 * (`best-effort`); or, as its VM is off, what nobody else wants (`resting`).
 */
export type Allocation = 'full' | 'best-effort' | 'resting'

export interface DiskDocument {
  disk: string
  cache: string
  vm: string | null
  target: string | null
  origin: string
  uri: string
  socket: string
  sizeBytes: number
  readOnly: boolean
  mode: ModeState
  replacement: string
  minBytes: number
  maxBytes: number | null
  shares: number
  allocation: Allocation
  /** How what is dirty goes to the origin while the disk is in write-back; limits are null where they follow from what the log may hold. */
  writeBack: WriteBackSettings
  allocatedBytes: number
  cachedBytes: number
  /** What the origin still lacks: 0 only when it has everything and has been flushed. Always 0 in modes that write through. */
  dirtyBytes: number
  /** Since the oldest write that the origin lacks; null where it lacks none. */
  dirtyAgeSeconds: number | null
  /** Until the origin has everything, at the present rate; null where nothing is dirty or the rate is not known. */
  secondsToFlush: number | null
  /**
   * Whether the origin is marked as one that may lack writes: for other hosts in its stamp, and by image locks. Also true of a disk
   * that is not served, whose dirty bytes nobody knows.
   */
  lacksWrites: boolean
  /** Dirty pages that the origin refuses while it takes others: they are tried again, and hold nothing else. */
  stuckPages: number
  /** Dirty pages that the cache device lost before the origin had them: reading them is an I/O error until they are written again. */
  lostPages: number
  /** Cached pages that did not have their checksum when they were read, since the disk is served: read from the origin instead. */
  badPages: number
  /** Null where the disk is not served. */
  phase: DiskPhase | null
  state: DiskState
  reason: string | null
  lease: { host: string; epoch: number }
}

export interface LatencyDocument {
  p50: number | null
  p99: number | null
  p999: number | null
}

export type StatsWindow = '5m' | '1h' | '24h' | 'all'

export interface DiskStatsDocument {
  disk: string
  cache: string
  seconds: number
  reads: number
  writes: number
  flushes: number
  readBytes: number
  writtenBytes: number
  readHits: number
  writeHits: number
  /** Read hits over reads; null without reads. */
  hitRatio: number | null
  originReads: number
  originWrites: number
  dirtyBytes: number
  dirtyAgeSeconds: number | null
  evictions: number
  reinsertions: number
  /** Bytes written to the cache device per byte that the guest wrote or a miss filled; null where nothing was. */
  deviceBytesPerByte: number | null
  /** The part of that for pages that were appended again to be kept. */
  relocatedBytesPerByte: number | null
  /** In write-back: flushes and FUA that made something stable, and how many of them the origin has passed. */
  barriers: number
  originBarriers: number
  /** Pages that scrubs read back, and bad ones of these that were read from the origin again. */
  scrubbedPages: number
  repairedPages: number
  latencyMicroseconds: { read: LatencyDocument; write: LatencyDocument; flush: LatencyDocument }
}

export interface CacheStatsDocument {
  cache: string
  reads: number
  readHits: number
  hitRatio: number | null
  deviceReadBytes: number
  deviceWrittenBytes: number
}

export interface StatsDocument {
  window: StatsWindow
  disks: DiskStatsDocument[]
  caches: CacheStatsDocument[]
}

export interface JobDocument {
  id: string
  /** Name of the operation: `cache.create`, `disk.flush` ... */
  kind: string
  /** What it works on: `cache fast`, `disk web01/vda`. */
  object: string
  state: 'running' | 'done' | 'failed' | 'cancelled'
  progress: {
    done: number
    total: number | null
    unit: 'bytes' | 'pages' | 'chunks' | 'items'
    note: string | null
  } | null
  createdAt: string
  endedAt: string | null
  result: unknown
  error: import('../../base/errors.js').ErrorDocument | null
}

export interface EventDocument {
  at: string
  what: string
  why: string | null
  who: string
  result: string
  vm: string | null
  disk: string | null
  cache: string | null
}

export interface EngineDocument {
  host: string
  hostId: string
  state: 'starting' | 'running' | 'stopping'
  pid: number
  version: string
  startedAt: string
  socket: string
  ioThreads: number
  ioBackend: string
  caches: string[]
  degraded: { object: string; state: string; reason: string; mend: string }[]
  safeToReboot: { now: boolean; reasons: string[]; secondsUntil: number | null }
}

/** Who may write an origin, as state database and stamp say together. */
export interface LeaseDocument {
  /** Path or URI; of another host's lease the key under which hosts know the origin. */
  origin: string
  /** Name of the host that holds it; null where it was given back. */
  host: string | null
  hostId: string | null
  disk: string | null
  epoch: number
  /** Whether the cache of its holder holds writes that the origin may lack; null where only the holder knows. */
  lacksWrites: boolean | null
  changedAt: string | null
}

export interface StatusDocument {
  engine: EngineDocument
  caches: CacheDocument[]
  counts: { caches: number; disks: number; vms: number }
  attention: { object: string; state: string; reason: string; mend: string }[]
  jobs: JobDocument[]
}

export interface DoctorCheck {
  id: string
  state: 'ok' | 'warning' | 'failure' | 'skipped'
  object: string
  seen: string
  expected: string
  mend: string | null
}

/** One of several targets of a command. */
export interface TargetResult {
  name: string
  ok: boolean
  changed: boolean
  error: import('../../base/errors.js').ErrorDocument | null
}

/** A change that was done (`changed`), was not needed, or would be done (`dryRun` with its `steps`). */
export interface ChangeResult {
  changed: boolean
  dryRun?: boolean
  steps?: string[]
}

export interface DeviceSpecification {
  path: string
  /** Bytes of the device to use; a file is created with it. Null: the whole existing device or file. */
  sizeBytes: number | null
}

export interface CreateCacheRequest {
  name: string
  devices: DeviceSpecification[]
  blockSizeBytes: number
  chunkSizeBytes: number
  force: boolean
  dryRun: boolean
}

/** How a disk is to be cached; what is absent stays, or is inherited. */
export interface GivenDiskSettings {
  mode?: string
  replacement?: string
  minBytes?: number
  /** Null: the whole cache. */
  maxBytes?: number | null
  shares?: number
  writeBack?: Partial<WriteBackSettings>
}

/** The same with what is wanted of a VM. */
export interface GivenSettings extends GivenDiskSettings {
  rapidSuspend?: RapidSuspend
  idleTimeoutSeconds?: number | null
  suspendAt?: string | null
  resumeAt?: string | null
  storageAfterSeconds?: number | null
  timeZone?: string | null
}

/** What is wanted of an object, as the levels say together. */
export interface PolicyDocument {
  level: Level
  name: string
  settings: SettingDocument[]
}

export interface SettingDocument {
  setting: SettingKey
  wanted: SettingValue
  source: Source
  /** Null where the object has it for others alone, or nobody serves it; `reason` where it is not what is wanted. */
  inForce: { value: SettingValue; reason: string | null } | null
}

/** What is set of one object itself. */
export interface SetPolicyDocument {
  level: Level
  name: string
  settings: Policy
}

/** What is not given of its settings is inherited. */
export interface AttachRequest extends GivenDiskSettings {
  cache: string
  origin: string
  /** Null: the base name of the image. */
  name: string | null
  readOnly: boolean
  exclusive: boolean
  dryRun: boolean
}

/** What `disk resolve --keep cache` wrote to the origin. */
export interface ResolvedDisk {
  disk: DiskDocument
  writtenBytes: number
  /** Pages (4 KiB, counted from the disk's phase) whose last version could not be read: the origin has an older one. */
  lostPages: number[]
  /** Places of the log where nobody knows what they held. */
  damages: number
}

/** What `cache scrub` found; `changed` where it repaired or dropped something. */
export interface ScrubbedCache {
  cache: string
  disks: ScrubbedDisk[]
  /** Disks of the cache of which nothing could be read back, and why. */
  skipped: { disk: string; reason: string }[]
}

/** Pages have 4 KiB and are counted from the disk's phase. */
export interface ScrubbedDisk {
  disk: string
  /** Pages that were read back. */
  pages: number
  /** Clean pages that were bad and were read from the origin again. */
  repairedPages: number
  /** Clean pages that were bad and are not cached any more. */
  droppedPages: number
  /** Pages that are bad and that the origin lacks. */
  damagedPages: number[]
}

/** A disk of a VM, as its definition has it now. */
export interface VmDiskDocument {
  /** What the guest calls it: `vda`. */
  target: string
  /** Name of its attachment; null where it is not attached. */
  disk: string | null
  /** Its own storage: a path; null where that is something else. */
  origin: string | null
  /** Where its requests go now; null where the VM is off or does not answer. */
  path: 'cached' | 'direct' | null
  /** Why it is direct although it is attached, or cannot be attached; null otherwise. */
  reason: string | null
}

export interface VmDocument {
  name: string
  uuid: string
  driver: DriverName
  host: string
  /** `suspended`: off, and a checkpoint has its memory; `unknown`: its hypervisor does not answer. `reason` says why. */
  state: VmState | 'suspended' | 'unknown'
  reason: string | null
  memoryBytes: number | null
  disks: VmDiskDocument[]
  /** Null where it does not run, or nobody has looked at it yet. */
  idleSeconds: number | null
  /** What has kept it awake in the last minute; empty where it was idle, or does not run. */
  awake: string[]
  /**
   * What happens when no engine serves its disks for longer than seconds: nothing, as none is cached; QEMU stops the VM until one does; or
   * its guest sees I/O errors.
   */
  onEngineLoss: 'continues' | 'stops' | 'io-error'
  reservation: { cache: string; bytes: number } | null
  checkpoint: (ShownPlace & { bytes: number; createdAt: string }) | null
  /** When its schedule resumes it; null where it is not suspended, or has none. */
  resumesAt: string | null
  policy: VmPolicy
}

/** The memory of a suspended VM. */
export interface CheckpointDocument extends ShownPlace {
  /** 32 hexadecimal digits. */
  id: string
  /** What the VM is called; of one that is not known any more what it was called. */
  vm: string
  uuid: string
  host: string
  /** `unrecorded`: it is there, but nobody knows what became of its VM, so that it is not resumed. */
  state: CheckpointState | 'unrecorded'
  /** What is loaded when the VM is resumed. */
  bytes: number
  /** What it takes of the cache, or of the storage. */
  storedBytes: number
  createdAt: string
  why: string | null
  qemu: { version: string; machine: string } | null
  disks: { target: string; path: string }[]
  /** What is known to be wrong with it; null where nothing is. */
  damage: string | null
}

export interface DefineVmRequest extends Omit<VmDefinition, 'disks'> {
  name: string
  disks: { path: string; format: ImageFormat }[]
  dryRun: boolean
}

/** As {@link AttachRequest}, for disks of a VM. */
export interface AttachVmRequest extends Omit<AttachRequest, 'origin' | 'name' | 'readOnly'> {
  vm: string
  /** Empty: every disk that can be attached. */
  targets: string[]
}

/** Names or globs; `all` with `exclude`. A name without wildcard that fits nothing is an error. */
export interface Targets {
  names: string[]
  all: boolean
  exclude: string[]
}

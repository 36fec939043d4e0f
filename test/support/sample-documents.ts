/** Documents of a made-up host, as an engine would answer them: a healthy cache and one with a failed device. */
import { DEFAULT_VM_POLICY } from '../../src/model/vm-policy.js'
import { DEFAULT_WRITE_BACK } from '../../src/model/write-back.js'
import type { CacheRecoverDocument } from '../../src/protocol/control/cache-recover.js'
import type {
  CacheDocument,
  CheckpointDocument,
  DiskDocument,
  DiskStatsDocument,
  DoctorCheck,
  EngineDocument,
  EventDocument,
  JobDocument,
  LatencyDocument,
  LeaseDocument,
  PolicyDocument,
  ScrubbedCache,
  SetPolicyDocument,
  StatsDocument,
  StatusDocument,
  VmDocument,
} from '../../src/protocol/control/documents.js'

const MIB = 1024 ** 2
const GIB = 1024 ** 3
const CHUNK = 16 * MIB

/** The time at which the documents are looked at. */
export const NOW = Date.parse('2026-11-20T03:04:05.000Z')

export const fast: CacheDocument = {
  name: 'fast',
  host: 'kvm07',
  scope: 'local',
  state: 'degraded',
  blockSizeBytes: 4096,
  chunkSizeBytes: CHUNK,
  chunks: { total: 102_400, free: 30_720, disk: 67_072, checkpoint: 4096, mirror: 0, reserved: 512 },
  sizeBytes: 1600 * GIB,
  indexBytes: 2.9 * GIB,
  dirtyBytes: 1.2 * GIB,
  dirtyAgeSeconds: 38,
  devices: [
    {
      id: '6f1c0a9e2b7d4c3f8a5e1d2c3b4a5968',
      path: '/dev/disk/by-id/nvme-SAMSUNG_MZQL2960HCJR_A',
      sizeBytes: 960 * GIB,
      chunks: 61_440,
      state: 'ok',
      errors: 0,
    },
    {
      id: '0b8e7d6c5f4a39281706f5e4d3c2b1a0',
      path: '/dev/disk/by-id/nvme-SAMSUNG_MZQL2960HCJR_B',
      sizeBytes: 640 * GIB,
      chunks: 40_960,
      state: 'failed',
      errors: 17,
    },
  ],
  disks: ['db01/vda', 'web01/vda'],
}

export const spare: CacheDocument = {
  ...fast,
  name: 'spare',
  state: 'open',
  chunks: { total: 640, free: 640, disk: 0, checkpoint: 0, mirror: 0, reserved: 0 },
  sizeBytes: 10 * GIB,
  indexBytes: 0,
  dirtyBytes: 0,
  dirtyAgeSeconds: null,
  devices: [{ ...fast.devices[0]!, path: '/var/cache/vmcache/spare', sizeBytes: 10 * GIB, chunks: 640 }],
  disks: [],
}

export const web: DiskDocument = {
  disk: 'web01/vda',
  cache: 'fast',
  vm: null,
  target: null,
  origin: '/images/web01.raw',
  uri: 'nbd+unix:///web01/vda?socket=/run/vmcache/disks/web01-vda.sock',
  socket: '/run/vmcache/disks/web01-vda.sock',
  sizeBytes: 40 * GIB,
  readOnly: false,
  mode: { wanted: 'write-through', inForce: 'write-through', reason: null },
  replacement: 's3-fifo',
  minBytes: 0,
  maxBytes: null,
  shares: 100,
  allocation: 'full',
  writeBack: DEFAULT_WRITE_BACK,
  allocatedBytes: 6 * GIB,
  cachedBytes: 5.5 * GIB,
  dirtyBytes: 0,
  dirtyAgeSeconds: null,
  secondsToFlush: null,
  lacksWrites: false,
  stuckPages: 0,
  lostPages: 0,
  badPages: 0,
  phase: { sectors: 0, source: 'partitions' },
  state: 'serving',
  reason: null,
  lease: { host: 'kvm07', epoch: 3 },
}

export const db: DiskDocument = {
  ...web,
  disk: 'db01/vda',
  origin: 'nbd+unix:///?socket=/run/storage/db01.sock',
  uri: 'nbd+unix:///db01/vda?socket=/run/vmcache/disks/db01-vda.sock',
  socket: '/run/vmcache/disks/db01-vda.sock',
  mode: { wanted: 'write-around', inForce: 'pass-through', reason: 'device nvme-SAMSUNG_MZQL2960HCJR_B failed' },
  minBytes: 2 * GIB,
  maxBytes: 320 * GIB,
  shares: 200,
  dirtyBytes: 1.2 * GIB,
  dirtyAgeSeconds: 38,
  secondsToFlush: 9,
  lacksWrites: true,
  stuckPages: 2,
  lostPages: 1,
  badPages: 3,
  phase: { sectors: 1, source: 'traffic' },
  state: 'direct',
  reason: 'device nvme-SAMSUNG_MZQL2960HCJR_B failed',
}

/** What was written to origins without an engine; one of them was in use. */
export const recovered: CacheRecoverDocument = {
  cache: 'fast',
  cacheId: '11112222333344445555666677778888',
  changed: true,
  disks: [
    {
      disk: 'db01/vda',
      logId: '0'.repeat(32),
      origin: '/images/db01.raw',
      dirtyBytes: 12 * MIB,
      newestWriteAt: '2026-11-20T03:00:00.000Z',
      writtenBytes: 0,
      lostPages: [],
      ok: false,
      error: { code: 'IN_USE', exit: 4, message: 'image /images/db01.raw is in use', hint: null, details: {} },
    },
    {
      disk: 'web01/vda',
      logId: '1'.repeat(32),
      origin: '/images/web01.raw',
      dirtyBytes: 300 * MIB,
      newestWriteAt: '2026-11-20T03:00:00.000Z',
      writtenBytes: 300 * MIB,
      lostPages: [17],
      ok: true,
      error: null,
    },
  ],
}

export const scrubbed: ScrubbedCache = {
  cache: 'fast',
  disks: [
    { disk: 'db01/vda', pages: 262_144, repairedPages: 2, droppedPages: 1, damagedPages: [17, 4711] },
    { disk: 'web01/vda', pages: 1, repairedPages: 0, droppedPages: 0, damagedPages: [] },
  ],
  skipped: [{ disk: 'web01/vdb', reason: 'nothing of it is cached' }],
}

/** A disk in write-back whose guest sets more barriers than its origin passes. */
export const mail: DiskDocument = {
  ...web,
  disk: 'mail',
  mode: { wanted: 'write-through', inForce: 'write-back', reason: 'it drains: what is dirty goes to the origin first' },
  writeBack: { ...DEFAULT_WRITE_BACK, dirtyHighBytes: 4 * GIB },
  dirtyBytes: 300 * MIB,
  dirtyAgeSeconds: 6,
  secondsToFlush: 3,
  lacksWrites: true,
  state: 'draining',
}

/** As cli.md draws it: one disk of two is direct. */
export const vms: VmDocument[] = [
  {
    name: 'web01',
    uuid: '4dea22b3-1d52-d8f3-2516-782e98ab3fa0',
    driver: 'libvirt',
    host: 'kvm07',
    state: 'running',
    reason: null,
    memoryBytes: 4 * GIB,
    disks: [
      { target: 'vda', disk: 'web01/vda', origin: '/images/web01.raw', path: 'cached', reason: null },
      { target: 'vdb', disk: null, origin: '/images/data.qcow2', path: 'direct', reason: 'qcow2 with a backing chain' },
    ],
    idleSeconds: 0,
    awake: ['processor 41 %, idle is under 3 %', 'a console is open (VNC)'],
    onEngineLoss: 'stops',
    reservation: null,
    checkpoint: null,
    resumesAt: null,
    policy: DEFAULT_VM_POLICY,
  },
  {
    name: 'desk07',
    uuid: '6f1c0a9e-2b7d-4c3f-8a5e-1d2c3b4a5968',
    driver: 'qemu',
    host: 'kvm07',
    state: 'suspended',
    reason: 'idle 1 h (policy)',
    memoryBytes: 2 * GIB,
    disks: [{ target: 'vda', disk: null, origin: '/dev/vg0/desk07', path: null, reason: null }],
    idleSeconds: null,
    awake: [],
    onEngineLoss: 'continues',
    reservation: null,
    checkpoint: {
      cache: 'fast',
      location: 'cache',
      path: null,
      bytes: 2.1 * GIB,
      createdAt: '2026-11-16T02:13:00.000Z',
    },
    resumesAt: '2026-11-24T07:30:00.000Z',
    policy: {
      ...{ rapidSuspend: 'on', idleTimeoutSeconds: 3600, suspendAt: null },
      ...{ resumeAt: '30 7 * * 1-5', storageAfterSeconds: null, timeZone: 'Europe/Berlin' },
    },
  },
  {
    name: 'mail',
    uuid: '0b8e7d6c-5f4a-4928-9706-f5e4d3c2b1a0',
    driver: 'libvirt',
    host: 'kvm07',
    state: 'unknown',
    reason: 'virsh domstate does not end in time',
    memoryBytes: null,
    disks: [],
    idleSeconds: null,
    awake: [],
    onEngineLoss: 'continues',
    reservation: null,
    checkpoint: null,
    resumesAt: null,
    policy: DEFAULT_VM_POLICY,
  },
]

export const checkpoints: CheckpointDocument[] = [
  {
    id: '9a1c0a9e2b7d4c3f8a5e1d2c3b4a5968',
    vm: 'desk07',
    uuid: '6f1c0a9e-2b7d-4c3f-8a5e-1d2c3b4a5968',
    host: 'kvm07',
    cache: 'fast',
    location: 'cache',
    path: null,
    state: 'suspended',
    bytes: 2.1 * GIB,
    storedBytes: 1.3 * GIB,
    createdAt: '2026-11-16T02:13:00.000Z',
    why: 'idle 1 h (policy)',
    qemu: { version: '7.2.22', machine: 'pc-q35-7.2' },
    disks: [{ target: 'vda', path: '/dev/vg0/desk07' }],
    damage: null,
  },
  {
    id: '1b8e7d6c5f4a39281706f5e4d3c2b1a0',
    vm: 'old01',
    uuid: '7b8e7d6c-5f4a-4928-9706-f5e4d3c2b1a0',
    host: 'kvm07',
    cache: null,
    location: 'storage',
    path: '/srv/checkpoints/4c3f8a5e/1b8e7d6c5f4a39281706f5e4d3c2b1a0.checkpoint',
    state: 'unrecorded',
    bytes: 512 * MIB,
    storedBytes: 512 * MIB,
    createdAt: '2026-10-01T10:00:00.000Z',
    why: null,
    qemu: null,
    disks: [],
    damage: null,
  },
]

const latency = (p50: number, p99: number, p999: number): LatencyDocument => ({ p50, p99, p999 })
const NEVER: LatencyDocument = { p50: null, p99: null, p999: null }

const webStats: DiskStatsDocument = {
  disk: 'web01/vda',
  cache: 'fast',
  seconds: 300,
  reads: 1_263_000,
  writes: 93_000,
  flushes: 1200,
  readBytes: 4.8 * GIB,
  writtenBytes: 0.4 * GIB,
  readHits: 1_187_220,
  writeHits: 80_000,
  hitRatio: 0.94,
  originReads: 75_000,
  originWrites: 93_000,
  dirtyBytes: 0,
  dirtyAgeSeconds: null,
  evictions: 1000,
  reinsertions: 200,
  deviceBytesPerByte: 1.1,
  relocatedBytesPerByte: 0.04,
  barriers: 0,
  originBarriers: 0,
  scrubbedPages: 0,
  repairedPages: 0,
  latencyMicroseconds: {
    read: latency(62, 1100, 2400),
    write: latency(180, 2000, 9000),
    flush: latency(800, 3000, 12_000),
  },
}

const dbStats: DiskStatsDocument = {
  ...webStats,
  disk: 'db01/vda',
  seconds: 0,
  reads: 0,
  writes: 0,
  hitRatio: null,
  dirtyBytes: db.dirtyBytes,
  dirtyAgeSeconds: db.dirtyAgeSeconds,
  latencyMicroseconds: { read: NEVER, write: NEVER, flush: NEVER },
}

/** The same load in write-back, on storage that flushes slowly. */
export const slowStats: StatsDocument = {
  window: '5m',
  disks: [
    {
      ...webStats,
      disk: 'mail',
      dirtyBytes: mail.dirtyBytes,
      dirtyAgeSeconds: 6,
      barriers: 90_000,
      originBarriers: 3000,
    },
  ],
  caches: [],
}

export const stats: StatsDocument = {
  window: '5m',
  disks: [dbStats, webStats],
  caches: [
    {
      cache: 'fast',
      reads: 1_263_000,
      readHits: 1_149_330,
      hitRatio: 0.91,
      deviceReadBytes: 4.5 * GIB,
      deviceWrittenBytes: 0.7 * GIB,
    },
  ],
}

export const engine: EngineDocument = {
  host: 'kvm07',
  hostId: '11112222333344445555666677778888',
  state: 'running',
  pid: 4711,
  version: '1.2.0',
  startedAt: '2026-11-08T03:04:05.000Z',
  socket: '/run/vmcache/control.sock',
  ioThreads: 4,
  ioBackend: 'page-cache',
  caches: ['fast', 'spare'],
  degraded: [
    {
      object: 'fast',
      state: 'degraded',
      reason: 'nvme-SAMSUNG_MZQL2960HCJR_B failed (EIO on read)',
      mend: 'vmcache cache show fast',
    },
  ],
  safeToReboot: { now: false, reasons: ['1.2 GB dirty'], secondsUntil: 9 },
}

export const job: JobDocument = {
  id: '0d9f6c1e',
  kind: 'disk.flush',
  object: 'disk db01/vda',
  state: 'running',
  progress: { done: 300 * MIB, total: 1200 * MIB, unit: 'bytes', note: null },
  createdAt: '2026-11-20T03:03:25.000Z',
  endedAt: null,
  result: null,
  error: null,
}

export const failedJob: JobDocument = {
  ...job,
  id: '77aa01bc',
  kind: 'cache.attach',
  object: 'disk web02',
  state: 'failed',
  progress: null,
  endedAt: '2026-11-20T03:03:26.500Z',
  error: {
    code: 'ORIGIN_NOT_FOUND',
    exit: 10,
    message: 'origin /images/web02.raw is not there',
    hint: 'mount the storage',
    details: {},
  },
}

export const status: StatusDocument = {
  engine,
  caches: [fast, spare],
  counts: { caches: 2, disks: 2, vms: 0 },
  attention: [
    ...engine.degraded,
    { object: 'db01/vda', state: 'direct', reason: 'the device of its log failed', mend: 'vmcache disk show db01/vda' },
  ],
  jobs: [job],
}

export const emptyStatus: StatusDocument = {
  engine: { ...engine, caches: [], degraded: [], safeToReboot: { now: true, reasons: [], secondsUntil: null } },
  caches: [],
  counts: { caches: 0, disks: 0, vms: 0 },
  attention: [],
  jobs: [],
}

export const events: EventDocument[] = [
  {
    at: '2026-11-20T03:00:00.000Z',
    what: 'disk.attach',
    why: null,
    who: 'root (uid 0)',
    result: 'ok',
    vm: null,
    disk: 'web01/vda',
    cache: 'fast',
  },
  {
    at: '2026-11-20T03:04:00.000Z',
    what: 'device.failed',
    why: 'EIO on read',
    who: 'engine',
    result: 'fast is degraded',
    vm: null,
    disk: null,
    cache: 'fast',
  },
]

export const checks: DoctorCheck[] = [
  { id: 'node', state: 'ok', object: 'this host', seen: 'v20.20.2', expected: 'at least v20.19', mend: null },
  {
    id: 'device',
    state: 'failure',
    object: 'fast',
    seen: 'nvme-SAMSUNG_MZQL2960HCJR_B failed',
    expected: 'all devices',
    mend: 'vmcache cache show fast',
  },
  {
    id: 'groups',
    state: 'warning',
    object: '/run/vmcache',
    seen: 'no group vmcache',
    expected: 'group vmcache',
    mend: 'vmcache engine install',
  },
]

export const leases: LeaseDocument[] = [
  {
    origin: '/images/web01.raw',
    host: 'kvm07',
    hostId: engine.hostId,
    disk: 'web01/vda',
    epoch: 3,
    lacksWrites: false,
    changedAt: '2026-11-08T03:04:05.000Z',
  },
  {
    origin: '/images/customers/db01-data.raw',
    host: 'kvm08',
    hostId: '99990000aaaabbbbccccddddeeeeffff',
    disk: 'db01/vdb',
    epoch: 12,
    lacksWrites: true,
    changedAt: null,
  },
  {
    origin: 'nbd://storage/old',
    host: null,
    hostId: null,
    disk: null,
    epoch: 2,
    lacksWrites: false,
    changedAt: '2026-11-01T10:00:00.000Z',
  },
]

/** It drains: what is wanted of it in write-back its cache says. */
export const policyOfDisk: PolicyDocument = {
  level: 'disk',
  name: 'db01/vda',
  settings: (
    [
      ['mode', 'write-through', 'disk'],
      ['replacement', 's3-fifo', 'default'],
      ['minBytes', 2 * GIB, 'disk'],
      ['maxBytes', null, 'vm'],
      ['shares', 200, 'cache'],
      ['destageOrder', 'ordered', 'host'],
      ['dirtyHighBytes', null, 'default'],
    ] as const
  ).map(([setting, wanted, source]) => ({
    ...{ setting, wanted, source },
    inForce:
      setting === 'mode'
        ? { value: 'write-back', reason: 'it drains: what is dirty goes to the origin first' }
        : { value: wanted, reason: null },
  })),
}

export const policyOfVm: PolicyDocument = {
  level: 'vm',
  name: 'desk07',
  settings: [
    {
      setting: 'rapidSuspend',
      wanted: 'on',
      source: 'vm',
      inForce: { value: 'off', reason: 'nothing is reserved for it now' },
    },
    { setting: 'idleTimeoutSeconds', wanted: 3600, source: 'host', inForce: { value: 3600, reason: null } },
    { setting: 'suspendAt', wanted: null, source: 'default', inForce: { value: null, reason: null } },
    { setting: 'timeZone', wanted: 'Europe/Berlin', source: 'host', inForce: { value: 'Europe/Berlin', reason: null } },
    { setting: 'mode', wanted: 'write-back', source: 'host', inForce: null },
  ],
}

export const policies: SetPolicyDocument[] = [
  { level: 'host', name: 'kvm07', settings: { mode: 'write-back', idleTimeoutSeconds: 3600 } },
  { level: 'vm', name: 'desk07', settings: { rapidSuspend: 'on', suspendAt: null } },
  { level: 'disk', name: 'db01/vda', settings: { mode: 'write-through', minBytes: 2 * GIB } },
]

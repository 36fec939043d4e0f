/**
 * An engine in memory, with the errors of the real one: for tests of what stands above the engine (operations, daemon).
 *
 * {@link FakeStorage} is what outlives an engine: devices with their superblocks, the logs on them and the sizes of origins that
 * are not files. A second fake engine on the same storage is the engine after a restart. Every call is noted in `calls`;
 * `failNext` plants the failure of the next call of a method.
 */
import { statSync } from 'node:fs'
import type {
  DeviceIdentity,
  DiskSettings,
  Engine,
  EngineCache,
  EngineDisk,
  FoundLog,
} from '../../src/engine/engine.js'
import type { DiskStatsDocument } from '../../src/protocol/control/documents.js'
import { checkpointPath, type CheckpointPlace } from '../../src/model/checkpoint.js'
import { VmcacheError, type ErrorCode } from '../../src/base/errors.js'
import { SeededRandom, type Random } from '../../src/base/random.js'
import type { EngineCheckpoint } from '../../src/engine/checkpoint.js'
import { MINIMUM_SHARE_CHUNKS, PAGE_BYTES, SECTOR_BYTES } from '../../src/model/geometry.js'

export interface FakeSuperblock extends DeviceIdentity {
  readonly blockBytes: number
  readonly chunkBytes: number
  /** Paths of all devices of the cache. */
  paths: readonly string[]
}

export interface FakeDevice {
  sizeBytes: number

  content: 'empty' | 'foreign' | 'corrupt' | FakeSuperblock
  /** True: nothing is found at its path. */
  gone: boolean
}

export interface FakeLog extends FoundLog {
  readonly cacheId: string
  chunks: number
  cachedBytes: number
  dirtyBytes: number
  /** Part of what is dirty cannot be read: a disk that wants the log waits. */
  isDamaged?: boolean
  /** Milliseconds since 1970; null: the log does not say. */
  newestFrameAt: number | null
}

export interface FakeStorage {
  readonly devices: Map<string, FakeDevice>
  readonly logs: Map<string, FakeLog>
  /** In caches, by id. */
  readonly checkpoints: Map<string, FakeCheckpoint>
  /** In files, by path. */
  readonly checkpointFiles: Map<string, FakeCheckpoint>
  /** Directories for them that are there. */
  readonly directories: Set<string>
  /** Bytes of the next stream that becomes a checkpoint. */
  streamBytes: number
  /** Sizes of origins that are no files (NBD URIs), or that replace the size of a file. */
  readonly origins: Map<string, number>
  readonly random: Random
}

export interface FakeCheckpoint extends EngineCheckpoint {
  readonly cacheId: string
  readonly chunks: number
  /** A bit of it has flipped. */
  isCorrupt?: boolean
}

export function createFakeStorage(seed = 1): FakeStorage {
  const random = new SeededRandom(seed)
  return {
    ...{ devices: new Map(), logs: new Map(), checkpoints: new Map(), origins: new Map(), random },
    ...{ checkpointFiles: new Map(), directories: new Set() },
    streamBytes: 64 * 2 ** 20,
  }
}

type Method = keyof Engine
type EngineEvent = Parameters<Parameters<Engine['onEvent']>[0]>[0]

export interface FakeEngine extends Engine {
  readonly storage: FakeStorage
  /** Every call so far, oldest first. */
  readonly calls: { method: Method; args: readonly unknown[] }[]
  /** Names of the methods called so far that change something. */
  changes(): Method[]
  failNext(method: Method, error?: Error): void
  /** Tells the listeners. */
  emit(event: EngineEvent): void
  /** What the guest wrote or read through an attached disk. */
  setDisk(
    disk: string,
    values: Partial<
      Pick<
        EngineDisk,
        | 'mode'
        | 'dirtyBytes'
        | 'dirtyAgeSeconds'
        | 'secondsToFlush'
        | 'cachedBytes'
        | 'stuckPages'
        | 'lostPages'
        | 'badPages'
        | 'state'
        | 'reason'
      >
    >,
  ): void
  /** Its cache device fails: the disk goes on without its log, if its epoch can be raised. */
  loseLog(disk: string): Promise<void>
  /** The device at `path` fails: every disk of its cache leaves its log. */
  failDevice(path: string): Promise<void>
  /** From now on the origin takes no writes. */
  refuseWrites(origin: string): void
  /** From now on whoever waits until the origin has everything waits until it is cancelled. */
  hangWrites(origin: string): void
  settingsOf(disk: string): DiskSettings | undefined
  /** Bytes of the disk that is served at a socket. */
  sizeAt(socket: string): number | undefined
  readonly closed: boolean
}

const CHANGES: readonly Method[] = [
  'createCache',
  'openCache',
  'discardLog',
  'destageLog',
  'addDevice',
  'removeDevice',
  'closeCache',
  'eraseCache',
  'attach',
  'resumeLog',
  'detach',
  'flush',
  'invalidate',
  'change',
  'makeCheckpointDirectory',
  'writeCheckpoint',
  'copyCheckpoint',
  'readCheckpoint',
  'deleteCheckpoint',
  'close',
]

interface OpenCache {
  readonly superblock: FakeSuperblock
  readonly missing: boolean
}

interface Attached {
  settings: DiskSettings
  readonly sizeBytes: number
  extra: Partial<Pick<EngineDisk, 'mode'>> &
    Pick<
      EngineDisk,
      'dirtyAgeSeconds' | 'secondsToFlush' | 'stuckPages' | 'lostPages' | 'badPages' | 'state' | 'reason'
    >
}

export function createFakeEngine(storage: FakeStorage = createFakeStorage()): FakeEngine {
  const calls: FakeEngine['calls'] = []
  const planted = new Map<Method, Error[]>()
  const listeners: ((event: EngineEvent) => void)[] = []
  const caches = new Map<string, OpenCache>()
  const attached = new Map<string, Attached>()
  const refusing = new Set<string>()
  const hanging = new Set<string>()
  const failed = new Set<string>()
  /** Chunks that VMs are promised, by cache, then by VM. */
  const reserved = new Map<string, Map<string, number>>()
  let raiseEpoch: (disk: string) => Promise<void> = () => Promise.reject(new Error('nobody can raise an epoch'))
  let closed = false

  function enter(method: Method, ...args: unknown[]): void {
    calls.push({ method, args })
    const error = planted.get(method)?.shift()
    if (error !== undefined) throw error
  }

  function fail(code: ErrorCode, message: string): never {
    throw new VmcacheError(code, message)
  }

  function deviceAt(path: string): FakeDevice {
    const device = storage.devices.get(path)
    if (device === undefined || device.gone) fail('DEVICE_NOT_FOUND', `device ${path} does not exist`)
    return device
  }

  function superblockAt(path: string): FakeSuperblock | null {
    const { content } = deviceAt(path)
    if (content === 'corrupt') fail('CORRUPT', `device ${path}: its superblock does not verify`)
    return typeof content === 'string' ? null : content
  }

  const chunksOf = (path: string, chunkBytes: number) =>
    Math.floor((storage.devices.get(path)?.sizeBytes ?? 0) / chunkBytes)

  function openCacheNamed(name: string): OpenCache {
    return caches.get(name) ?? fail('CACHE_NOT_FOUND', `cache ${name} is not open`)
  }

  function attachedDisk(name: string): Attached {
    return attached.get(name) ?? fail('DISK_NOT_FOUND', `disk ${name} is not attached`)
  }

  /** Writes to every device of a cache which ones it has. */
  function setMembers(cache: OpenCache, paths: readonly string[]): void {
    cache.superblock.paths = paths
    for (const path of paths) {
      const { content } = storage.devices.get(path)!
      if (typeof content !== 'string') content.paths = paths
    }
  }

  const logsIn = (cache: OpenCache) =>
    [...storage.logs.values()].filter((log) => log.cacheId === cache.superblock.cacheId)

  const checkpointsIn = (cache: OpenCache) =>
    [...storage.checkpoints.values()].filter(({ cacheId }) => cacheId === cache.superblock.cacheId)

  const reservedIn = (name: string): number =>
    [...(reserved.get(name)?.values() ?? [])].reduce((sum, chunks) => sum + chunks, 0)

  function checkpointIn(place: CheckpointPlace, id: string): FakeCheckpoint {
    if ('directory' in place) {
      const path = checkpointPath(place.directory, id)
      if (!storage.directories.has(place.directory)) fail('FAILED', `directory ${place.directory} is not there`)
      return storage.checkpointFiles.get(path) ?? fail('NOT_FOUND', `${path} is not there`)
    }
    const found = checkpointsIn(openCacheNamed(place.cache)).find((checkpoint) => checkpoint.id === id)
    return found ?? fail('NOT_FOUND', `cache ${place.cache} has no checkpoint ${id}`)
  }

  /** Keeps a checkpoint of so many bytes. */
  function keep(
    place: CheckpointPlace,
    checkpoint: Omit<EngineCheckpoint, 'storedBytes' | 'damage'>,
  ): EngineCheckpoint {
    const { id, vm, bytes } = checkpoint
    if ('directory' in place) {
      if (!storage.directories.has(place.directory)) fail('FAILED', `directory ${place.directory} is not there`)
      const kept = { ...checkpoint, storedBytes: bytes + 4096, damage: null, cacheId: '', chunks: 0 }
      storage.checkpointFiles.set(checkpointPath(place.directory, id), kept)
      return shown(kept)
    }
    const cache = openCacheNamed(place.cache)
    const { chunkBytes, cacheId } = cache.superblock
    const chunks = Math.ceil(bytes / chunkBytes)
    const own = reserved.get(place.cache)?.get(vm) ?? 0
    if (chunks > cacheDocument(place.cache, cache).chunks.free + own) fail('NO_SPACE', `cache ${place.cache} is full`)
    const left = Math.max(0, own - chunks)
    if (own > 0) reserved.get(place.cache)!.set(vm, left)
    const kept = { ...checkpoint, storedBytes: chunks * chunkBytes, damage: null, cacheId, chunks }
    storage.checkpoints.set(id, kept)
    return shown(kept)
  }

  /** What the engine tells of it. */
  function shown({ cacheId: _, chunks: __, isCorrupt: ___, ...checkpoint }: FakeCheckpoint): EngineCheckpoint {
    return checkpoint
  }

  function cacheDocument(name: string, cache: OpenCache): EngineCache {
    const { superblock } = cache
    const devices = superblock.paths.map((path) => {
      const device = storage.devices.get(path)
      const present = device !== undefined && !device.gone && typeof device.content !== 'string'
      return {
        id: present ? (device.content as FakeSuperblock).deviceId : '0'.repeat(32),
        path,
        sizeBytes: device?.sizeBytes ?? 0,
        chunks: chunksOf(path, superblock.chunkBytes),
        state: failed.has(path) ? ('failed' as const) : present ? ('ok' as const) : ('missing' as const),
        errors: failed.has(path) ? 1 : 0,
      }
    })
    const logs = logsIn(cache)
    const total = devices.reduce((sum, device) => sum + device.chunks, 0)
    const disk = logs.reduce((sum, log) => sum + log.chunks, 0)
    const checkpoint = checkpointsIn(cache).reduce((sum, { chunks }) => sum + chunks, 0)
    const promised = reservedIn(name)
    const free = total - disk - checkpoint - promised
    return {
      name,
      state: devices.every(isUsable) ? 'open' : devices.some(isUsable) ? 'degraded' : 'failed',
      blockSizeBytes: superblock.blockBytes,
      chunkSizeBytes: superblock.chunkBytes,
      chunks: { total, free, disk, checkpoint, mirror: 0, reserved: promised },
      sizeBytes: total * superblock.chunkBytes,
      indexBytes: 0,
      dirtyBytes: logs.reduce((sum, log) => sum + log.dirtyBytes, 0),
      dirtyAgeSeconds: null,
      devices,
    }
  }

  function diskDocument(disk: Attached): EngineDisk {
    const { settings, sizeBytes, extra } = disk
    const log = extra.state === 'direct' ? undefined : storage.logs.get(settings.logId)
    const chunkBytes = caches.get(settings.cache)?.superblock.chunkBytes ?? 0
    return {
      disk: settings.name,
      cache: settings.cache,
      origin: settings.origin,
      socket: settings.socket,
      sizeBytes,
      readOnly: settings.readOnly,
      mode: { wanted: settings.mode, inForce: settings.mode, reason: null },
      replacement: settings.replacement,
      minBytes: settings.minBytes,
      maxBytes: settings.maxBytes,
      shares: settings.shares,
      writeBack: settings.writeBack,
      allocatedBytes: (log?.chunks ?? 0) * chunkBytes,
      cachedBytes: log?.cachedBytes ?? 0,
      dirtyBytes: log?.dirtyBytes ?? 0,
      phase: { sectors: 0, source: 'none' },
      ...extra,
    }
  }

  function originSize(origin: string): number {
    const known = storage.origins.get(origin)
    if (known !== undefined) return known
    if (!origin.startsWith('/')) fail('ORIGIN_FAILED', `origin ${origin}: connection refused`)
    try {
      return statSync(origin).size
    } catch {
      return fail('ORIGIN_NOT_FOUND', `origin ${origin} does not exist`)
    }
  }

  async function loseLog(name: string): Promise<void> {
    const disk = attachedDisk(name)
    const reason = 'the cache device failed'
    const state = await raiseEpoch(name).then(
      () => 'direct' as const,
      () => 'failed' as const,
    )
    disk.extra = { ...disk.extra, state, reason }
    for (const listener of listeners)
      listener({ what: `disk.${state}`, cache: disk.settings.cache, disk: name, reason })
  }

  /** Makes the log of a disk, or takes up the one that is found. */
  function openLog(
    { logId, name, cache: cacheName, origin, epoch }: DiskSettings,
    sizeBytes: number,
    trusted: boolean,
  ): void {
    const cache = openCacheNamed(cacheName)
    const known = storage.logs.get(logId)
    if (known?.isDamaged === true) fail('CORRUPT', `the log of disk ${name} is damaged where its origin lacks it`)
    if (known === undefined && cacheDocument(cacheName, cache).chunks.free < MINIMUM_SHARE_CHUNKS)
      fail('NO_SPACE', `cache ${cacheName} is full`)
    storage.logs.set(logId, {
      logId,
      cacheId: cache.superblock.cacheId,
      disk: name,
      origin,
      sizeBytes,
      epoch,
      chunks: known?.chunks ?? 1,
      cachedBytes: trusted && !cache.missing ? (known?.cachedBytes ?? 0) : 0,
      dirtyBytes: known?.dirtyBytes ?? 0,
      newestFrameAt: known?.newestFrameAt ?? null,
    })
  }

  return {
    storage,
    calls,
    ioThreads: 1,
    ioBackend: 'fake',
    get closed() {
      return closed
    },
    changes: () => calls.map((call) => call.method).filter((method) => CHANGES.includes(method)),
    failNext(method, error = new VmcacheError('FAILED', `planted failure of ${method}`)) {
      planted.set(method, [...(planted.get(method) ?? []), error])
    },
    emit(event) {
      for (const listener of listeners) listener(event)
    },
    setDisk(name, { dirtyBytes, cachedBytes, ...extra }) {
      const disk = attachedDisk(name)
      const log = storage.logs.get(disk.settings.logId)!
      if (dirtyBytes !== undefined) log.dirtyBytes = dirtyBytes
      if (cachedBytes !== undefined) log.cachedBytes = cachedBytes
      disk.extra = { ...disk.extra, ...extra }
    },
    loseLog,
    async failDevice(path) {
      failed.add(path)
      for (const [cache, { superblock }] of caches) {
        if (!superblock.paths.includes(path)) continue
        for (const listener of listeners)
          listener({ what: 'device.failed', cache, disk: null, reason: `${path} failed` })
        for (const [name, { settings }] of attached) if (settings.cache === cache) await loseLog(name)
      }
    },
    refuseWrites: (origin) => void refusing.add(origin),
    hangWrites: (origin) => void hanging.add(origin),
    settingsOf: (disk) => attached.get(disk)?.settings,
    sizeAt: (socket) => [...attached.values()].find(({ settings }) => settings.socket === socket)?.sizeBytes,
    async createCache(settings, options) {
      if (!options.dryRun) enter('createCache', settings, options)
      if (caches.has(settings.name)) fail('CACHE_EXISTS', `cache ${settings.name} is open`)
      const steps: string[] = []
      for (const { path, sizeBytes } of settings.devices) {
        const device = storage.devices.get(path)
        if (device === undefined || device.gone) {
          if (sizeBytes === null) fail('DEVICE_NOT_FOUND', `device ${path} does not exist`)
          steps.push(`create the file ${path} with ${sizeBytes} bytes`)
        } else if (device.content !== 'empty' && !options.force) {
          fail('DEVICE_NOT_EMPTY', `device ${path} is not empty`)
        }
        steps.push(`write a superblock to ${path}`)
      }
      const cacheId = storage.random.id()
      const superblocks = settings.devices.map((): FakeSuperblock => ({
        cacheName: settings.name,
        cacheId,
        deviceId: storage.random.id(),
        createdAt: '2026-01-01T00:00:00.000Z',
        blockBytes: settings.blockBytes,
        chunkBytes: settings.chunkBytes,
        paths: settings.devices.map(({ path }) => path),
      }))
      if (!options.dryRun) {
        settings.devices.forEach(({ path, sizeBytes }, index) => {
          const size = sizeBytes ?? storage.devices.get(path)!.sizeBytes
          storage.devices.set(path, { sizeBytes: size, content: superblocks[index]!, gone: false })
          options.progress(index + 1, settings.devices.length, 'items')
        })
      }
      return { cacheId, devices: superblocks, indexBytes: 0, steps }
    },

    async identify(path) {
      enter('identify', path)
      return superblockAt(path)
    },

    async openCache(settings, options) {
      enter('openCache', settings, options)
      if (caches.has(settings.name)) fail('WRONG_STATE', `cache ${settings.name} is open already`)
      const found: FakeSuperblock[] = []
      for (const path of settings.devices) {
        const device = storage.devices.get(path)
        if (device === undefined || device.gone) {
          if (!options.allowMissing) fail('DEVICE_MISSING', `cache ${settings.name}: device ${path} is missing`)
        } else if (typeof device.content === 'string') {
          fail('DEVICE_FOREIGN', `cache ${settings.name}: ${path} is not a device of vmcache`)
        } else {
          found.push(device.content)
        }
      }
      const first = found[0] ?? fail('DEVICE_MISSING', `cache ${settings.name}: no device is there`)
      if (found.some((superblock) => superblock.cacheId !== first.cacheId)) {
        fail('DEVICE_FOREIGN', `cache ${settings.name}: the devices belong to different caches`)
      }
      if (first.cacheName !== settings.name) {
        fail('DEVICE_FOREIGN', `cache ${settings.name}: the devices belong to cache ${first.cacheName}`)
      }
      const missing = found.length < first.paths.length
      if (missing && !options.allowMissing) {
        fail('DEVICE_MISSING', `cache ${settings.name} has ${first.paths.length} devices, ${found.length} are there`)
      }
      const cache: OpenCache = { superblock: first, missing }
      caches.set(settings.name, cache)
      return cacheDocument(settings.name, cache)
    },

    async logsOf(name) {
      enter('logsOf', name)
      return logsIn(openCacheNamed(name)).map(({ logId, disk, origin, sizeBytes, epoch }) => ({
        logId,
        disk,
        origin,
        sizeBytes,
        epoch,
      }))
    },

    async newestFrameAt(name, logId) {
      enter('newestFrameAt', name, logId)
      openCacheNamed(name)
      return storage.logs.get(logId)?.newestFrameAt ?? null
    },

    async dirtyOf(name, logId) {
      enter('dirtyOf', name, logId)
      openCacheNamed(name)
      const log = storage.logs.get(logId)
      if (log === undefined) return null
      return { dirtyBytes: log.dirtyBytes, newestFrameAt: log.newestFrameAt ?? 0, isDamaged: log.isDamaged ?? false }
    },

    async destageLog(name, logId, options) {
      enter('destageLog', name, logId, options)
      openCacheNamed(name)
      options.signal.throwIfAborted()
      if (refusing.has(options.origin)) fail('ORIGIN_FAILED', `origin ${options.origin} refuses writes`)
      const writtenBytes = storage.logs.get(logId)?.dirtyBytes ?? 0
      options.progress(writtenBytes, writtenBytes, 'bytes')
      storage.logs.delete(logId)
      return { writtenBytes, lostPages: [], damages: 0 }
    },

    async discardLog(name, logId) {
      enter('discardLog', name, logId)
      const cache = openCacheNamed(name)
      const log = storage.logs.get(logId)
      if ([...attached.values()].some(({ settings }) => settings.logId === logId)) {
        fail('IN_USE', `log ${logId} is in use`)
      }
      if (log?.cacheId === cache.superblock.cacheId) storage.logs.delete(logId)
    },

    async addDevice(name, { path, sizeBytes }, options) {
      if (!options.dryRun) enter('addDevice', name, path, sizeBytes)
      const cache = openCacheNamed(name)
      const device = storage.devices.get(path)
      const isThere = device !== undefined && !device.gone
      if (!isThere && sizeBytes === null) fail('DEVICE_NOT_FOUND', `device ${path} does not exist`)
      if (isThere && device.content !== 'empty' && !options.force)
        fail('DEVICE_NOT_EMPTY', `device ${path} is not empty`)
      const steps = [`write a superblock to ${path}`]
      if (options.dryRun) return { steps }
      const superblock = { ...cache.superblock, deviceId: storage.random.id() }
      const bytes = sizeBytes ?? device!.sizeBytes
      storage.devices.set(path, { sizeBytes: bytes, content: superblock, gone: false })
      const { chunkBytes, paths } = cache.superblock
      await options.record({
        id: superblock.deviceId,
        path,
        sizeBytes: bytes,
        chunks: chunksOf(path, chunkBytes),
        state: 'ok',
        errors: 0,
      })
      setMembers(cache, [...paths, path])
      return { steps }
    },

    async removeDevice(name, deviceId, options) {
      enter('removeDevice', name, deviceId)
      const cache = openCacheNamed(name)
      for (const log of logsIn(cache)) if (log.dirtyBytes > 0) await options.flush(log.disk)
      options.signal.throwIfAborted()
      const isIt = (path: string) => (storage.devices.get(path)?.content as FakeSuperblock).deviceId === deviceId
      const path = cache.superblock.paths.find(isIt)!
      setMembers(
        cache,
        cache.superblock.paths.filter((each) => each !== path),
      )
      await options.record()
      storage.devices.get(path)!.content = 'empty'
    },

    async scrub(name, options) {
      enter('scrub', name, options.bytesPerSecond)
      openCacheNamed(name)
      options.signal.throwIfAborted()
      const disks = [...attached.values()].filter(({ settings }) => settings.cache === name)
      return disks.flatMap(({ settings }) => {
        const log = storage.logs.get(settings.logId)
        if (log === undefined) return []
        const pages = log.cachedBytes / PAGE_BYTES
        const damagedPages = log.isDamaged === true ? [0] : []
        return [{ disk: settings.name, pages, repairedPages: 0, droppedPages: 0, damagedPages }]
      })
    },

    async reserve(name, holder, bytes, { bestEffort }) {
      enter('reserve', name, holder, bytes, { bestEffort })
      const cache = openCacheNamed(name)
      const { chunkBytes } = cache.superblock
      const holders = reserved.get(name) ?? new Map<string, number>()
      const wanted = Math.ceil(bytes / chunkBytes)
      const { free } = cacheDocument(name, cache).chunks
      const possible = free + (holders.get(holder) ?? 0)
      if (wanted > possible && !bestEffort) fail('NO_SPACE', `cache ${name} has ${possible} chunks, not ${wanted}`)
      const granted = Math.min(wanted, possible)
      reserved.set(name, granted === 0 ? (holders.delete(holder), holders) : holders.set(holder, granted))
      return granted * chunkBytes
    },

    async makeCheckpointDirectory(directory) {
      enter('makeCheckpointDirectory', directory)
      storage.directories.add(directory)
    },

    async writeCheckpoint(place, { id, vm, name, attributes }, { ready, signal }) {
      enter('writeCheckpoint', place, id)
      ready()
      await new Promise((resolve) => setImmediate(resolve))
      if (signal.aborted) fail('INTERRUPTED', 'cancelled')
      return keep(place, {
        id,
        vm,
        name,
        bytes: storage.streamBytes,
        attributes,
        createdAt: '2026-01-01T00:00:00.000Z',
      })
    },

    async copyCheckpoint(from, id, to) {
      enter('copyCheckpoint', from, id, to)
      const checkpoint = checkpointIn(from, id)
      if (checkpoint.isCorrupt === true) fail('CORRUPT', `checkpoint ${id} does not verify`)
      return keep(to, shown(checkpoint))
    },

    async verifyCheckpoint(place, id) {
      enter('verifyCheckpoint', place, id)
      const checkpoint = checkpointIn(place, id)
      if (checkpoint.isCorrupt === true) fail('CORRUPT', `checkpoint ${id} does not verify`)
      return shown(checkpoint)
    },

    async readCheckpoint(place, id, socket, { ready }) {
      enter('readCheckpoint', place, id, socket)
      const checkpoint = checkpointIn(place, id)
      ready()
      if (checkpoint.isCorrupt === true) fail('CORRUPT', `checkpoint ${id} does not verify`)
    },

    async checkpoints(place) {
      enter('checkpoints', place)
      if ('cache' in place) return checkpointsIn(openCacheNamed(place.cache)).map(shown)
      const { directory } = place
      if (!storage.directories.has(directory)) fail('FAILED', `directory ${directory} is not there`)
      return [...storage.checkpointFiles].flatMap(([path, checkpoint]) =>
        path === checkpointPath(directory, checkpoint.id) ? [shown(checkpoint)] : [],
      )
    },

    async deleteCheckpoint(place, id) {
      enter('deleteCheckpoint', place, id)
      checkpointIn(place, id)
      if ('cache' in place) storage.checkpoints.delete(id)
      else storage.checkpointFiles.delete(checkpointPath(place.directory, id))
    },

    async closeCache(name) {
      enter('closeCache', name)
      openCacheNamed(name)
      if ([...attached.values()].some(({ settings }) => settings.cache === name)) {
        fail('IN_USE', `cache ${name} has attached disks`)
      }
      caches.delete(name)
    },

    async eraseCache(name) {
      enter('eraseCache', name)
      const { superblock } = openCacheNamed(name)
      if ([...attached.values()].some(({ settings }) => settings.cache === name)) {
        fail('IN_USE', `cache ${name} has attached disks`)
      }
      for (const path of superblock.paths) {
        const device = storage.devices.get(path)
        if (device !== undefined) device.content = 'empty'
      }
      for (const [id, log] of storage.logs) if (log.cacheId === superblock.cacheId) storage.logs.delete(id)
      caches.delete(name)
    },

    caches: () => [...caches].map(([name, cache]) => cacheDocument(name, cache)),

    async attach(settings) {
      enter('attach', settings)
      if (settings.withoutLog === null) openCacheNamed(settings.cache)
      if (attached.has(settings.name)) fail('DISK_EXISTS', `disk ${settings.name} is attached`)
      const sizeBytes = originSize(settings.origin)
      if (sizeBytes === 0 || sizeBytes % SECTOR_BYTES !== 0) {
        fail('ORIGIN_SIZE', `origin ${settings.origin} has ${sizeBytes} bytes`)
      }
      const reason = settings.withoutLog
      if (reason === null) openLog(settings, sizeBytes, settings.trustCleanPages)
      const disk: Attached = {
        settings,
        sizeBytes,
        extra: {
          dirtyAgeSeconds: null,
          secondsToFlush: null,
          stuckPages: 0,
          lostPages: 0,
          badPages: 0,
          state: reason === null ? 'serving' : 'direct',
          reason,
        },
      }
      attached.set(settings.name, disk)
      return diskDocument(disk)
    },

    async resumeLog(name, epoch) {
      enter('resumeLog', name, epoch)
      const disk = attachedDisk(name)
      openLog({ ...disk.settings, epoch }, disk.sizeBytes, false)
      disk.extra = { ...disk.extra, state: 'serving', reason: null }
      return diskDocument(disk)
    },

    async detach(name, options) {
      enter('detach', name, options)
      const { settings } = attachedDisk(name)
      options.signal.throwIfAborted()
      const log = storage.logs.get(settings.logId) ?? { dirtyBytes: 0 }
      if (refusing.has(settings.origin) && log.dirtyBytes > 0 && !options.discardDirty) {
        fail('ORIGIN_FAILED', `origin ${settings.origin} refuses writes`)
      }
      options.progress(log.dirtyBytes, log.dirtyBytes, 'bytes')
      log.dirtyBytes = 0
      if (!options.keepLog) storage.logs.delete(settings.logId)
      attached.delete(name)
    },

    async disks() {
      enter('disks')
      return [...attached.values()].map(diskDocument)
    },

    async flush(name, options) {
      enter('flush', name, options.holdMilliseconds ?? 0)
      const { settings } = attachedDisk(name)
      options.signal.throwIfAborted()
      if (hanging.has(settings.origin)) await raised(options.signal)
      if (refusing.has(settings.origin)) fail('ORIGIN_FAILED', `origin ${settings.origin} refuses writes`)
      storage.logs.get(settings.logId)!.dirtyBytes = 0
      options.progress(1, 1, 'items')
    },

    async invalidate(name) {
      enter('invalidate', name)
      storage.logs.get(attachedDisk(name).settings.logId)!.cachedBytes = 0
    },

    async change(name, settings, options) {
      enter('change', name, settings)
      const disk = attachedDisk(name)
      const log = storage.logs.get(disk.settings.logId)
      const leaves =
        disk.settings.mode === 'write-back' && settings.mode !== undefined && settings.mode !== 'write-back'
      if (leaves && log !== undefined && log.dirtyBytes > 0) {
        if (refusing.has(disk.settings.origin)) fail('ORIGIN_FAILED', `origin ${disk.settings.origin} refuses writes`)
        if (hanging.has(disk.settings.origin)) await raised(options?.signal)
        options?.progress(log.dirtyBytes, log.dirtyBytes, 'bytes')
        log.dirtyBytes = 0
      }
      disk.settings = { ...disk.settings, ...settings }
    },

    async responds() {},
    async stats(names, window) {
      enter('stats', names, window)
      const disks = names.length === 0 ? [...attached.values()] : names.map(attachedDisk)
      return { window, disks: disks.map(({ settings }) => emptyStats(settings)), caches: [] }
    },

    async metrics() {
      enter('metrics')
      return `vmcache_disks ${attached.size}\n`
    },

    setEpochRaiser(raise) {
      raiseEpoch = raise
    },

    onEvent(listener) {
      listeners.push(listener)
    },

    async close() {
      enter('close')
      attached.clear()
      caches.clear()
      closed = true
    },
  }
}

/** Rejects as the engine does for who does not wait any longer. */
function raised(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const cancelled = (): void => reject(new VmcacheError('INTERRUPTED', 'cancelled'))
    if (signal?.aborted === true) cancelled()
    signal?.addEventListener('abort', cancelled)
  })
}

function isUsable({ state }: { readonly state: string }): boolean {
  return state === 'ok'
}

function emptyStats({ name, cache }: DiskSettings): DiskStatsDocument {
  const latency = { p50: null, p99: null, p999: null }
  return {
    disk: name,
    cache,
    seconds: 0,
    reads: 0,
    writes: 0,
    flushes: 0,
    readBytes: 0,
    writtenBytes: 0,
    readHits: 0,
    writeHits: 0,
    hitRatio: null,
    originReads: 0,
    originWrites: 0,
    dirtyBytes: 0,
    dirtyAgeSeconds: null,
    evictions: 0,
    reinsertions: 0,
    deviceBytesPerByte: null,
    relocatedBytesPerByte: null,
    barriers: 0,
    originBarriers: 0,
    scrubbedPages: 0,
    repairedPages: 0,
    latencyMicroseconds: { read: latency, write: latency, flush: latency },
  }
}

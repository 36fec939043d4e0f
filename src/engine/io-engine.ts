import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { assert } from '../base/assert.js'
import type { Clock } from '../base/clock.js'
import { VmcacheError, messageOf } from '../base/errors.js'
import type { LogLevel, Logger } from '../base/logger.js'
import { systemRandom } from '../base/random.js'
import type { ChunkHeader } from '../format/chunk-header.js'
import type { Mode } from '../model/mode.js'
import { MINIMUM_SHARE_CHUNKS, PAGE_BYTES } from '../model/geometry.js'
import type { Device } from './device/device.js'
import { lockDevice, type DeviceLock } from './device/lock-device.js'
import { openDevice } from './device/open-device.js'
import type { DeviceIdentity, DiskSettings, Engine, EngineCache, EngineDisk, FoundLog } from './engine.js'
import { writeFreeHeader } from './log/log.js'
import { Pool, chunkOffset, formatDevices } from './pool/pool.js'
import { closePrepared, planDevices, prepareDevices } from './pool/prepare-devices.js'
import { eraseSuperblocks, readSuperblock } from './pool/superblocks.js'
import { DiskCounters } from './statistics/disk-counters.js'
import { prometheusText } from './statistics/prometheus.js'
import { cacheStats, diskStats } from './statistics/stats-documents.js'
import { DiskWindows, SAMPLE_MILLISECONDS } from './statistics/windows.js'
import { Calls } from './worker/calls.js'
import type { MainCalls, ThreadCalls, ThreadDiskStatus } from './worker/messages.js'

/** Memory of the index, for each page that a cache can hold. */
const INDEX_BYTES_PER_PAGE = 20

export interface OpenEngineOptions {
  readonly ioThreads: number
  readonly clock: Clock
  readonly logger: Logger
  readonly logLevel?: LogLevel
  /** Id of this host; new caches carry it. */
  readonly hostId?: string
}

interface OpenCache {
  readonly name: string
  readonly pool: Pool
  readonly locks: readonly DeviceLock[]
  readonly deviceState: Map<string, { state: 'ok' | 'failed'; errors: number }>
}

interface AttachedDisk {
  settings: DiskSettings
  readonly cache: OpenCache
  readonly thread: IoThread
  readonly counters: DiskCounters
  readonly windows: DiskWindows
  status: ThreadDiskStatus
}

interface IoThread {
  readonly worker: Worker
  readonly calls: Calls<ThreadCalls, MainCalls>
}

type EventListener = Parameters<Engine['onEvent']>[0]

/** Starts the I/O threads. A thread that dies takes the process with it: the supervisor starts a new one behind the same sockets. */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const engine = new IoEngine(options)
  await Promise.resolve()
  return engine
}

class IoEngine implements Engine {
  readonly ioThreads: number
  readonly ioBackend = 'thread-pool'
  readonly #threads: IoThread[] = []
  readonly #caches = new Map<string, OpenCache>()
  readonly #disks = new Map<string, AttachedDisk>()
  readonly #listeners: EventListener[] = []
  #raiseEpoch: (disk: string) => Promise<void> = () =>
    Promise.reject(new VmcacheError('FAILED', 'nobody can raise the epoch of a disk'))
  #stopSampling: () => void = () => undefined
  #closing = false

  constructor(readonly options: OpenEngineOptions) {
    this.ioThreads = Math.max(1, Math.min(options.ioThreads, availableParallelism() * 4))
    for (let number = 0; number < this.ioThreads; number++) this.#threads.push(this.#startThread(number))
    this.#sampleLater()
  }

  #startThread(number: number): IoThread {
    const worker = new Worker(new URL('./worker/io-thread.js', import.meta.url), {
      workerData: { number, logLevel: this.options.logLevel ?? 'info' },
    })
    const calls: Calls<ThreadCalls, MainCalls> = new Calls<ThreadCalls, MainCalls>(worker, {
      wantChunks: ({ cacheId }) => this.#grant(cacheId, thread),
      giveChunks: ({ cacheId, chunks }) => {
        const cache = this.#cacheById(cacheId)
        for (const chunk of chunks) cache?.pool.give(chunk)
        if (cache !== undefined) this.#serveStarved(cache)
      },
      raiseEpoch: (disk) => this.#raiseEpoch(disk),
      stateChanged: ({ disk, state, reason }) => {
        const attached = this.#disks.get(disk)
        if (attached !== undefined) attached.status = { ...attached.status, state, reason }
        if (state === 'direct' || state === 'failed') {
          this.#emit({ what: `disk-${state}`, cache: attached?.cache.name ?? null, disk, reason: reason ?? '' })
        }
      },
    })
    const thread: IoThread = { worker, calls }
    worker.on('error', (error) => {
      // Its disks cannot be served by another thread while it may still have requests under way: start anew.
      calls.close(error)
      if (!this.#closing) throw error
    })
    return thread
  }

  setEpochRaiser(raise: (disk: string) => Promise<void>): void {
    this.#raiseEpoch = raise
  }

  onEvent(listener: EventListener): void {
    this.#listeners.push(listener)
  }

  #emit(event: Parameters<EventListener>[0]): void {
    for (const listener of this.#listeners) listener(event)
  }

  // ---------------------------------------------------------------------------------------------------------- caches

  async createCache(
    settings: Parameters<Engine['createCache']>[0],
    options: Parameters<Engine['createCache']>[1],
  ): ReturnType<Engine['createCache']> {
    const { steps, chunks } = await planDevices(settings.devices, settings.chunkBytes)
    const indexBytes = chunks * (settings.chunkBytes / PAGE_BYTES) * INDEX_BYTES_PER_PAGE
    if (options.dryRun) return { cacheId: '', devices: [], indexBytes, steps }
    const prepared = await prepareDevices(settings.devices, options)
    try {
      const formatted = await formatDevices(
        prepared.map(({ device, usedBytes }) => sized(device, usedBytes)),
        { ...settings, hostId: this.options.hostId ?? '0'.repeat(32) },
        { random: systemRandom, clock: this.options.clock },
      )
      return {
        cacheId: formatted[0]!.superblock.cacheId,
        devices: formatted.map(({ superblock }) => identityOf(superblock)),
        indexBytes,
        steps,
      }
    } finally {
      await closePrepared(prepared)
    }
  }

  async identify(path: string): Promise<DeviceIdentity | null> {
    const device = await openDevice(path, { readOnly: true })
    try {
      const superblock = await readSuperblock(device)
      return superblock === undefined ? null : identityOf(superblock)
    } finally {
      await device.close()
    }
  }

  async openCache({ name, devices }: Parameters<Engine['openCache']>[0]): Promise<EngineCache> {
    assert(!this.#caches.has(name), `cache ${name} is not open yet`)
    const locks: DeviceLock[] = []
    const opened: Device[] = []
    try {
      for (const path of devices) {
        locks.push(await lockDevice(path))
        opened.push(await openDevice(path))
      }
      const pool = await Pool.open(opened)
      if (pool.cacheName !== name) {
        throw new VmcacheError(
          'DEVICE_FOREIGN',
          `device ${devices[0]} belongs to cache ${pool.cacheName}, not to ${name}`,
          {
            hint: `vmcache cache import --device ${devices[0]}`,
          },
        )
      }
      const cache: OpenCache = { name, pool, locks, deviceState: new Map() }
      const { superblock } = pool.devices[0]!
      await Promise.all(
        this.#threads.map(({ calls }) =>
          calls.call('openCache', {
            cacheId: pool.cacheId,
            chunkBytes: pool.chunkBytes,
            firstChunkOffset: superblock.firstChunkOffset,
            devices: pool.devices.map(({ device }) => device.path),
          }),
        ),
      )
      this.#caches.set(name, cache)
      return this.#describeCache(cache)
    } catch (error) {
      for (const device of opened) await device.close()
      for (const lock of locks) await lock.release()
      throw error
    }
  }

  logsOf(name: string): Promise<FoundLog[]> {
    const logs: FoundLog[] = []
    for (const [logId, chunks] of this.#cache(name).pool.logs) {
      const newest = chunks.reduce<ChunkHeader>(
        (best, { header }) =>
          header.session > best.session || (header.session === best.session && header.sequence > best.sequence)
            ? header
            : best,
        chunks[0]!.header,
      )
      const { diskName, origin, diskBytes, epoch } = newest
      logs.push({ logId, disk: diskName, origin, sizeBytes: diskBytes, epoch })
    }
    return Promise.resolve(logs)
  }

  async discardLog(name: string, logId: string): Promise<void> {
    const { pool } = this.#cache(name)
    for (const { deviceIndex, index, generation } of pool.claim(logId)) {
      const { device, superblock } = pool.devices[deviceIndex]!
      const chunk = { device, deviceIndex, index, offset: chunkOffset(superblock, index), generation }
      await writeFreeHeader(chunk, pool.cacheId, this.options.clock.now())
      pool.give({ deviceIndex, index, generation: chunk.generation })
    }
  }

  async closeCache(name: string): Promise<void> {
    const cache = this.#cache(name)
    assert(this.#disksOf(cache).length === 0, `cache ${name} has no attached disk when it is closed`)
    await Promise.all(this.#threads.map(({ calls }) => calls.call('closeCache', cache.pool.cacheId)))
    this.#caches.delete(name)
    for (const { device } of cache.pool.devices) await device.close()
    for (const lock of cache.locks) await lock.release()
  }

  async eraseCache(name: string): Promise<void> {
    const cache = this.#cache(name)
    assert(this.#disksOf(cache).length === 0, `cache ${name} has no attached disk when it is erased`)
    for (const { device } of cache.pool.devices) await eraseSuperblocks(device)
    await this.closeCache(name)
  }

  caches(): EngineCache[] {
    return [...this.#caches.values()].map((cache) => this.#describeCache(cache))
  }

  #describeCache(cache: OpenCache): EngineCache {
    const { pool } = cache
    const disks = this.#disksOf(cache)
    const free = pool.freeChunks
    return {
      name: cache.name,
      state: 'open',
      blockSizeBytes: pool.blockBytes,
      chunkSizeBytes: pool.chunkBytes,
      chunks: { total: pool.totalChunks, free, disk: pool.totalChunks - free, checkpoint: 0, mirror: 0, reserved: 0 },
      sizeBytes: pool.totalChunks * pool.chunkBytes,
      indexBytes: disks.reduce((sum, { status }) => sum + status.indexBytes, 0),
      dirtyBytes: 0,
      dirtyAgeSeconds: null,
      devices: pool.devices.map(({ device, superblock }) => ({
        id: superblock.deviceId,
        path: device.path,
        sizeBytes: device.sizeBytes,
        chunks: superblock.chunkCount,
        state: cache.deviceState.get(device.path)?.state ?? 'ok',
        errors: cache.deviceState.get(device.path)?.errors ?? 0,
      })),
    }
  }

  #cache(name: string): OpenCache {
    const cache = this.#caches.get(name)
    assert(cache !== undefined, `cache ${name} is open`)
    return cache
  }

  #cacheById(cacheId: string): OpenCache | undefined {
    return [...this.#caches.values()].find(({ pool }) => pool.cacheId === cacheId)
  }

  #disksOf(cache: OpenCache): AttachedDisk[] {
    return [...this.#disks.values()].filter((disk) => disk.cache === cache)
  }

  // ------------------------------------------------------------------------------------------------------ allocation

  readonly #starved = new Map<OpenCache, Set<IoThread>>()

  /** Hands a thread its next chunk; where none is free, another disk that has more than its part gives one up. */
  #grant(cacheId: string, thread: IoThread): void {
    const cache = this.#cacheById(cacheId)
    if (cache === undefined) return
    const chunk = cache.pool.take()
    if (chunk !== undefined) {
      void thread.calls.call('grant', { cacheId, chunks: [chunk], exhausted: cache.pool.freeChunks === 0 })
      return
    }
    let starved = this.#starved.get(cache)
    if (starved === undefined) this.#starved.set(cache, (starved = new Set()))
    starved.add(thread)
    void thread.calls.call('grant', { cacheId, chunks: [], exhausted: true })
    void this.#rebalance(cache)
  }

  #serveStarved(cache: OpenCache): void {
    const starved = this.#starved.get(cache)
    if (starved === undefined) return
    for (const thread of starved) {
      const chunk = cache.pool.take()
      if (chunk === undefined) return
      starved.delete(thread)
      const { cacheId } = cache.pool
      void thread.calls.call('grant', { cacheId, chunks: [chunk], exhausted: cache.pool.freeChunks === 0 })
    }
  }

  /** Where a disk has less than its part by shares, the one that is furthest above its own gives up a chunk. */
  async #rebalance(cache: OpenCache): Promise<void> {
    await this.#refresh()
    const disks = this.#disksOf(cache)
    const shares = disks.reduce((sum, { settings }) => sum + settings.shares, 0)
    const { chunkBytes, totalChunks } = cache.pool
    const excess = disks.map((disk) => {
      const part = Math.max((totalChunks * disk.settings.shares) / shares, disk.settings.minBytes / chunkBytes)
      return { disk, above: disk.status.chunks - part }
    })
    const most = excess.reduce((best, each) => (each.above > best.above ? each : best), excess[0]!)
    if (disks.length < 2 || most.above < 1 || !excess.some(({ above }) => above < 0)) return
    await most.disk.thread.calls.call('shrink', { name: most.disk.settings.name, count: most.disk.status.chunks - 1 })
  }

  // ----------------------------------------------------------------------------------------------------------- disks

  async attach(settings: DiskSettings): Promise<EngineDisk> {
    assert(!this.#disks.has(settings.name), `disk ${settings.name} is not attached yet`)
    const cache = this.#cache(settings.cache)
    const thread = this.#leastLoaded()
    const counters = DiskCounters.create()
    const found = cache.pool.claim(settings.logId)
    const maximumChunks = this.#maximumChunks(cache, settings.maxBytes)
    try {
      const status = await thread.calls.call('attach', {
        settings,
        cacheId: cache.pool.cacheId,
        found,
        maximumChunks,
        counters: counters.buffer,
      })
      const windows = new DiskWindows([counters], this.options.clock)
      const attached = { settings, cache, thread, counters, windows, status }
      this.#disks.set(settings.name, attached)
      return describeDisk(attached)
    } catch (error) {
      await cache.pool.returnLog(found)
      throw error
    }
  }

  #leastLoaded(): IoThread {
    const load = (thread: IoThread): number => [...this.#disks.values()].filter((disk) => disk.thread === thread).length
    return this.#threads.reduce((best, thread) => (load(thread) < load(best) ? thread : best))
  }

  #maximumChunks(cache: OpenCache, maxBytes: number | null): number {
    const { totalChunks, chunkBytes } = cache.pool
    if (maxBytes === null) return totalChunks
    return Math.max(MINIMUM_SHARE_CHUNKS, Math.min(totalChunks, Math.floor(maxBytes / chunkBytes)))
  }

  async detach(name: string, options: Parameters<Engine['detach']>[1]): Promise<void> {
    const disk = this.#disk(name)
    const chunks = await disk.thread.calls.call('detach', { name, keepLog: options.keepLog })
    this.#disks.delete(name)
    await disk.cache.pool.returnLog(chunks)
  }

  async disks(): Promise<EngineDisk[]> {
    await this.#refresh()
    return [...this.#disks.values()].map(describeDisk)
  }

  async #refresh(): Promise<void> {
    const statuses = await Promise.all(this.#threads.map(({ calls }) => calls.call('status', null)))
    for (const status of statuses.flat()) {
      const disk = this.#disks.get(status.name)
      if (disk !== undefined) disk.status = status
    }
  }

  async flush(name: string): Promise<void> {
    await this.#disk(name).thread.calls.call('flush', name)
  }

  async invalidate(name: string): Promise<void> {
    await this.#disk(name).thread.calls.call('invalidate', name)
  }

  async change(name: string, wanted: Parameters<Engine['change']>[1]): Promise<void> {
    const disk = this.#disk(name)
    const settings = { ...disk.settings, ...wanted }
    const { mode, replacement } = wanted
    disk.status = await disk.thread.calls.call('change', {
      name,
      maximumChunks: this.#maximumChunks(disk.cache, settings.maxBytes),
      ...(mode === undefined ? {} : { mode: mode as Mode }),
      ...(replacement === undefined ? {} : { replacement }),
    })
    disk.settings = settings
  }

  #disk(name: string): AttachedDisk {
    const disk = this.#disks.get(name)
    assert(disk !== undefined, `disk ${name} is attached`)
    return disk
  }

  // ------------------------------------------------------------------------------------------------------ statistics

  async stats(names: readonly string[], window: Parameters<Engine['stats']>[1]): ReturnType<Engine['stats']> {
    await this.#refresh()
    const chosen = [...this.#disks.values()].filter(
      ({ settings }) => names.length === 0 || names.includes(settings.name),
    )
    const spans = chosen.map((disk) => ({ disk, span: disk.windows.over(window) }))
    return {
      window,
      disks: spans.map(({ disk, span }) =>
        diskStats(span, { disk: disk.settings.name, cache: disk.cache.name, dirtyBytes: 0, dirtyAgeSeconds: null }),
      ),
      caches: [...new Set(chosen.map(({ cache }) => cache))].map((cache) =>
        cacheStats(
          cache.name,
          spans.filter(({ disk }) => disk.cache === cache).map(({ span }) => span.counters),
        ),
      ),
    }
  }

  async metrics(): Promise<string> {
    await this.#refresh()
    const disks = [...this.#disks.values()].map((disk) => ({ document: describeDisk(disk), counters: disk.counters }))
    return prometheusText(this.caches(), disks)
  }

  #sampleLater(): void {
    this.#stopSampling = this.options.clock.after(SAMPLE_MILLISECONDS, () => {
      for (const { windows } of this.#disks.values()) windows.sample()
      this.#sampleLater()
    })
  }

  /** Ends service everywhere. A disk that cannot be closed cleanly is left as a kill would leave it, and the error is passed on. */
  async close(): Promise<void> {
    this.#closing = true
    this.#stopSampling()
    const failures: string[] = []
    for (const [name, { thread }] of [...this.#disks]) {
      try {
        await thread.calls.call('detach', { name, keepLog: true })
        this.#disks.delete(name)
      } catch (error) {
        failures.push(`${name}: ${messageOf(error)}`)
      }
    }
    if (failures.length === 0) for (const name of [...this.#caches.keys()]) await this.closeCache(name)
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
    if (failures.length > 0) throw new VmcacheError('FAILED', `disks were not closed cleanly: ${failures.join('; ')}`)
  }
}

/** A device of which only the first bytes are used. */
function sized(device: Device, sizeBytes: number): Device {
  return sizeBytes === device.sizeBytes
    ? device
    : (Object.create(device, { sizeBytes: { value: sizeBytes } }) as Device)
}

function identityOf(superblock: {
  cacheName: string
  cacheId: string
  deviceId: string
  createdAt: number
}): DeviceIdentity {
  const { cacheName, cacheId, deviceId, createdAt } = superblock
  return { cacheName, cacheId, deviceId, createdAt: new Date(createdAt).toISOString() }
}

function describeDisk({ settings, status, cache }: AttachedDisk): EngineDisk {
  return {
    disk: settings.name,
    cache: cache.name,
    origin: settings.origin,
    socket: settings.socket,
    sizeBytes: status.sizeBytes,
    readOnly: status.readOnly,
    mode: {
      wanted: settings.mode,
      inForce: status.mode,
      reason: settings.mode === status.mode ? null : status.reason,
    },
    replacement: settings.replacement,
    minBytes: settings.minBytes,
    maxBytes: settings.maxBytes,
    shares: settings.shares,
    allocatedBytes: status.chunks * cache.pool.chunkBytes,
    cachedBytes: status.cachedBytes,
    dirtyBytes: 0,
    dirtyAgeSeconds: null,
    secondsToFlush: null,
    state: status.state,
    reason: status.reason,
  }
}

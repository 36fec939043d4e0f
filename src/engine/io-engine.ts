import { availableParallelism } from 'node:os'
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads'
import { assert } from '../base/assert.js'
import type { Clock } from '../base/clock.js'
import { VmcacheError, messageOf } from '../base/errors.js'
import type { LogLevel, Logger } from '../base/logger.js'
import { systemRandom } from '../base/random.js'
import { bootId } from '../base/system-calls.js'
import type { ChunkHeader } from '../format/chunk-header.js'
import type { CheckpointPlace } from '../model/checkpoint.js'
import { MINIMUM_SHARE_CHUNKS, PAGE_BYTES } from '../model/geometry.js'
import { createCheckpointFiles, type CheckpointFiles } from './checkpoint/checkpoint-files.js'
import type { Borrow, CheckpointKeeper } from './checkpoint/checkpoint-keeper.js'
import { Checkpoints } from './checkpoint/checkpoints.js'
import { systemCheckpointStorage } from './checkpoint/checkpoint-storage.js'
import { fromPieces, fromSocket } from './checkpoint/fill.js'
import type { Giver } from './checkpoint/make-room.js'
import type { Device } from './device/device.js'
import { lockDevice, type DeviceLock } from './device/lock-device.js'
import { openDevice } from './device/open-device.js'
import { Media } from './device/media.js'
import { openMedium } from './device/open-medium.js'
import { destageLog } from './disk/destage-log.js'
import type { CheckpointSource, CheckpointWatch, EngineCheckpoint, StreamWatch } from './checkpoint.js'
import type {
  DestagedLog,
  DeviceIdentity,
  DirtyLog,
  DiskSettings,
  Engine,
  EngineCache,
  EngineDisk,
  FoundLog,
  Progress,
  ScrubbedDisk,
} from './engine.js'
import { writeFreeHeader } from './log/free-header.js'
import { planRecovery, type FoundChunk } from './log/recovery.js'
import type { StoredObject } from './object/stored-object.js'
import { openOrigin } from './origin/open-origin.js'
import { ChunkSupply } from './pool/chunk-supply.js'
import { emptyDevice, type Vacated } from './pool/empty-device.js'
import { Demand } from './pool/demand.js'
import { partsOf } from './pool/parts.js'
import { PoolChunks } from './pool/pool-chunks.js'
import { Pool, chunksOf, formatDevices, type FoundChunkPlace } from './pool/pool.js'
import { closePrepared, planDevices, prepareDevices } from './pool/prepare-devices.js'
import { eraseSuperblocks, readSuperblock } from './pool/superblocks.js'
import { watchDevice } from './pool/watch-device.js'
import { weightsOf } from './pool/weights.js'
import { whoGives, type Tenant } from './pool/who-gives.js'
import { scrubDisks } from './scrub/scrub-disks.js'
import { DiskCounters, sumOf } from './statistics/disk-counters.js'
import { prometheusText } from './statistics/prometheus.js'
import { cacheStats, diskStats } from './statistics/stats-documents.js'
import { DiskWindows, SAMPLE_MILLISECONDS } from './statistics/windows.js'
import { Calls } from './worker/calls.js'
import type { MainCalls, ThreadCalls, ThreadDiskStatus, ThreadLogPlace } from './worker/messages.js'

/** How often a wait for the origin says how far it is. */
const PROGRESS_MILLISECONDS = 500
/** Between two looks at who should give a chunk up. */
const REBALANCE_MILLISECONDS = 20
/** Free chunks that a thread has at hand, or is being handed. */
const SPARE_CHUNKS = 3
/** How long it waits for an origin that does not answer when it is closed. */
const ORIGIN_CLOSE_MILLISECONDS = 10_000
/** Of whom nobody sees the progress, and who is not cancelled. */
const UNWATCHED = { progress: () => undefined, signal: new AbortController().signal }

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
  /** By path of the device. */
  readonly locks: Map<string, DeviceLock>
  /** Errors of devices that failed, by position. */
  readonly deviceErrors: Map<number, number>
  /** How many free chunks each thread keeps. */
  readonly spareCounts: readonly Int32Array[]
  readonly supply: ChunkSupply<IoThread>
  readonly checkpoints: Checkpoints
  /** For checkpoints. */
  readonly media: Media
}

interface AttachedDisk {
  settings: DiskSettings
  /** Undefined while the disk is served without a cache. */
  cache: OpenCache | undefined
  /** The one that owns it. */
  readonly thread: IoThread
  /** What each thread that serves it counts, by the thread's number. */
  readonly counters: ReadonlyMap<number, DiskCounters>
  readonly windows: DiskWindows
  readonly demand: Demand
  status: ThreadDiskStatus
}

interface IoThread {
  readonly number: number
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
  readonly #files: CheckpointFiles
  #raiseEpoch: (disk: string) => Promise<void> = () =>
    Promise.reject(new VmcacheError('FAILED', 'nobody can raise the epoch of a disk'))
  #stopSampling: () => void = () => undefined
  #closing = false

  constructor(readonly options: OpenEngineOptions) {
    this.#files = createCheckpointFiles({ storage: systemCheckpointStorage, clock: options.clock })
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
        cache?.supply.serve()
      },
      deviceFailed: ({ cacheId, deviceIndex, reason }) => {
        const cache = this.#cacheById(cacheId)
        if (cache !== undefined) this.#deviceFailed(cache, deviceIndex, reason)
      },
      raiseEpoch: (disk) => this.#raiseEpoch(disk),
      stateChanged: ({ disk, state, reason }) => {
        const attached = this.#disks.get(disk)
        if (attached !== undefined) attached.status = { ...attached.status, state, reason }
        if (state === 'direct' || state === 'failed') {
          this.#emit({ what: `disk.${state}`, cache: attached?.settings.cache ?? null, disk, reason: reason ?? '' })
        }
      },
    })
    const thread: IoThread = { number, worker, calls }
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

  async openCache(
    { name, devices }: Parameters<Engine['openCache']>[0],
    options: Parameters<Engine['openCache']>[1],
  ): Promise<EngineCache> {
    assert(!this.#caches.has(name), `cache ${name} is not open yet`)
    const locks = new Map<string, DeviceLock>()
    const opened: Device[] = []
    try {
      for (const path of devices) {
        locks.set(path, await lockDevice(path))
        opened.push(watchDevice(await openDevice(path), ({ message }) => this.#pathFailed(path, message)))
      }
      const pool = await Pool.open(opened, options)
      for (const { device } of pool.leftOut) {
        opened.splice(opened.indexOf(device), 1)
        await device.close()
        await locks.get(device.path)?.release()
        locks.delete(device.path)
      }
      if (pool.cacheName !== name) {
        throw new VmcacheError(
          'DEVICE_FOREIGN',
          `device ${devices[0]} belongs to cache ${pool.cacheName}, not to ${name}`,
          {
            hint: `vmcache cache import --device ${devices[0]}`,
          },
        )
      }
      const spareCounts = this.#threads.map(() => new Int32Array(new SharedArrayBuffer(4)))
      const { cacheId } = pool
      const supply = new ChunkSupply<IoThread>(pool, ({ calls }, chunk, exhausted) => {
        void calls.call('grant', { cacheId, chunks: chunk === undefined ? [] : [chunk], exhausted })
      })
      const media = new Media((position) => {
        const { path } = pool.devices[position]!.device
        return openMedium(path).then((device) => watchDevice(device, ({ message }) => this.#pathFailed(path, message)))
      })
      const checkpoints: Checkpoints = new Checkpoints({
        name,
        pool,
        clock: this.options.clock,
        medium: (deviceIndex) => media.at(deviceIndex),
        givers: () => this.#givers(cache),
        heldBack: () => this.#heldBack(cache),
        collect: (isCollecting) => this.#collect(cache, isCollecting),
        freed: () => supply.serve(),
      })
      const deviceErrors = new Map<number, number>()
      const cache: OpenCache = { name, pool, locks, deviceErrors, spareCounts, supply, checkpoints, media }
      await this.#openInThreads(cache)
      this.#caches.set(name, cache)
      this.#tellDamaged(cache)
      return this.#describeCache(cache)
    } catch (error) {
      for (const device of opened) await device.close()
      for (const lock of locks.values()) await lock.release()
      throw error
    }
  }

  #tellDamaged({ name, pool }: OpenCache): void {
    for (const { id, seal, damage } of pool.objects.values()) {
      if (damage === null) continue
      const reason = `checkpoint ${id} of VM ${seal?.name ?? '(unknown)'}: ${damage}`
      this.#emit({ what: 'checkpoint.damaged', cache: name, disk: null, reason })
    }
  }

  async #openInThreads({ pool, spareCounts }: OpenCache): Promise<void> {
    const opening = this.#threads.map(({ calls }, index) =>
      calls.call('openCache', {
        cacheId: pool.cacheId,
        chunkBytes: pool.chunkBytes,
        firstChunkOffset: pool.devices[0]!.superblock.firstChunkOffset,
        devices: pool.devices.map(({ device }) => device.path),
        spareCount: spareCounts[index]!.buffer as SharedArrayBuffer,
      }),
    )
    const failure = (await Promise.allSettled(opening)).find((outcome) => outcome.status === 'rejected')
    if (failure === undefined) return
    await Promise.all(this.#threads.map(({ calls }) => calls.call('closeCache', pool.cacheId)))
    throw failure.reason
  }

  /** The main thread met an error of a device. */
  #pathFailed(path: string, reason: string): void {
    for (const cache of this.#caches.values()) {
      const failed = cache.pool.members.find(({ device }) => device.path === path)
      if (failed !== undefined) this.#deviceFailed(cache, failed.position, reason)
    }
  }

  /** The first error of a device is its last: no chunk of it is handed out any more, and every disk with chunks there leaves its log. */
  #deviceFailed(cache: OpenCache, deviceIndex: number, reason: string): void {
    const errors = cache.deviceErrors.get(deviceIndex) ?? 0
    cache.deviceErrors.set(deviceIndex, errors + 1)
    if (errors > 0) return
    cache.pool.fail(deviceIndex)
    const { cacheId } = cache.pool
    for (const { calls } of this.#threads) void calls.call('leaveDevice', { cacheId, deviceIndex, reason })
    this.#emit({ what: 'device.failed', cache: cache.name, disk: null, reason })
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

  async newestFrameAt(name: string, logId: string): Promise<number | null> {
    return (await this.dirtyOf(name, logId))?.newestFrameAt ?? null
  }

  async dirtyOf(name: string, logId: string): Promise<DirtyLog | null> {
    const { pool } = this.#cache(name)
    const found = pool.logs.get(logId)
    if (found === undefined) return null
    const plan = await planRecovery(foundChunks(pool, found), {
      chunkBytes: pool.chunkBytes,
      bootId: bootId(),
      pastDamage: true,
    })
    const { dirtyBytes, lastWrittenAt, isDirtyDamaged } = plan
    return { dirtyBytes, newestFrameAt: lastWrittenAt, isDamaged: isDirtyDamaged }
  }

  async destageLog(
    name: string,
    logId: string,
    { disk, epoch, origin: uri, progress, signal }: Parameters<Engine['destageLog']>[2],
  ): Promise<DestagedLog> {
    const { pool, supply } = this.#cache(name)
    const { clock } = this.options
    const found = pool.claim(logId)
    const source = new PoolChunks(pool, found)
    const wanted = { name: disk, epoch, source, bootId: bootId(), clock, pastDamage: true, progress, signal }
    try {
      const origin = await openOrigin(uri, { readOnly: false, imageFormatAllowed: true })
      try {
        const { log, ...destaged } = await destageLog(foundChunks(pool, found), { ...wanted, origin })
        await log?.destroy()
        return destaged
      } finally {
        await origin.close(ORIGIN_CLOSE_MILLISECONDS)
      }
    } finally {
      // Nothing of a log that was destroyed; a log that had nothing dirty, or all of one that was not written, can be found again.
      await pool.returnLog(source.chunks)
      supply.serve()
    }
  }

  async discardLog(name: string, logId: string): Promise<void> {
    const { pool, supply } = this.#cache(name)
    // Oldest first: what a crash leaves of it is a log that lost its oldest chunks, as reclaim leaves one.
    for (const place of [...pool.claim(logId)].sort((a, b) => a.header.sequence - b.header.sequence)) {
      const chunk = pool.chunkAt(place)
      await writeFreeHeader(chunk, pool.cacheId, this.options.clock.now())
      pool.give({ ...place, generation: chunk.generation })
    }
    supply.serve()
  }

  async scrub(name: string, options: Parameters<Engine['scrub']>[1]): Promise<ScrubbedDisk[]> {
    const cache = this.#cache(name)
    await this.#refresh()
    const disks = this.#disksOf(cache).filter(({ status }) => status.chunks > 0)
    const scrubbed = await scrubDisks(
      disks.map(({ settings, status, thread }) => ({
        name: settings.name,
        pages: status.cachedBytes / PAGE_BYTES,
        scrub: async (position) => {
          const slice = await thread.calls.call('scrub', { name: settings.name, position })
          if (slice.damagedPages.length > 0) this.#emit(damagedPagesEvent(name, settings.name, slice.damagedPages))
          return slice
        },
      })),
      {
        ...options,
        clock: this.options.clock,
        requests: () => this.#disksOf(cache).reduce((sum, disk) => sum + requestsOf(disk), 0),
      },
    )
    await this.#refresh()
    return scrubbed
  }

  async addDevice(
    name: string,
    wanted: Parameters<Engine['addDevice']>[1],
    options: Parameters<Engine['addDevice']>[2],
  ): Promise<{ steps: string[] }> {
    const cache = this.#cache(name)
    const { pool } = cache
    const { cacheId, chunkBytes } = pool
    const { steps } = await planDevices([wanted], chunkBytes, 1)
    if (options.dryRun) return { steps }
    const force = options.force || (await isLeftOver(pool, wanted.path))
    const prepared = await prepareDevices([wanted], { ...options, force })
    const { device, lock, usedBytes } = prepared[0]!
    const { path } = device
    const added = { id: systemRandom.id(), chunkCount: chunksOf(usedBytes, chunkBytes) }
    const deviceIndex = pool.devices.length
    try {
      await this.#everywhere('openDevice', { cacheId, deviceIndex, path })
      const watched = watchDevice(device, ({ message }) => this.#pathFailed(path, message))
      const record = (): Promise<void> =>
        options.record({
          ...added,
          path,
          sizeBytes: device.sizeBytes,
          chunks: added.chunkCount,
          state: 'ok',
          errors: 0,
        })
      await pool.add(watched, added, { clock: this.options.clock, record })
    } catch (error) {
      await this.#everywhere('closeDevice', { cacheId, deviceIndex }).catch(() => undefined)
      await closePrepared(prepared)
      throw error
    }
    cache.locks.set(path, lock)
    await this.#roomChanged(cache)
    return { steps }
  }

  async removeDevice(name: string, deviceId: string, options: Parameters<Engine['removeDevice']>[2]): Promise<void> {
    const cache = this.#cache(name)
    const { pool } = cache
    const member = pool.members.find(({ superblock }) => superblock.deviceId === deviceId)
    if (member === undefined || cache.deviceErrors.has(member.position)) this.#refuseToLose(cache, member?.position)
    refuseCheckpoints(cache, ({ chunks, missingChunks }) =>
      member === undefined ? missingChunks > 0 : chunks.some(({ chunk }) => chunk.deviceIndex === member.position),
    )
    if (member === undefined) {
      await pool.removeMissing(deviceId)
      await this.#roomChanged(cache)
    } else {
      if (pool.members.length === 1) throw lastDevice(name, member.device.path)
      await this.#leaveDevice(cache, member.position, options)
    }
    try {
      await options.record()
      // Only now: what the database names is opened with the others.
      if (member !== undefined && !cache.deviceErrors.has(member.position)) await eraseSuperblocks(member.device)
    } finally {
      if (member !== undefined) await this.#closeDevice(cache, member)
    }
  }

  async #closeDevice(
    { pool, locks, media }: OpenCache,
    { device, position }: { readonly device: Device; readonly position: number },
  ): Promise<void> {
    await media.close(position)
    await this.#everywhere('closeDevice', { cacheId: pool.cacheId, deviceIndex: position })
    await device.close()
    await locks.get(device.path)?.release()
    locks.delete(device.path)
  }

  /** Moves every log off a device, and makes the pool forget it; where that fails all is as it was. */
  async #leaveDevice(
    cache: OpenCache,
    deviceIndex: number,
    options: Parameters<Engine['removeDevice']>[2],
  ): Promise<void> {
    const { pool } = cache
    const { cacheId } = pool
    const device = { cacheId, deviceIndex }
    pool.retire(deviceIndex)
    try {
      if (!cache.deviceErrors.has(deviceIndex)) {
        this.#refuseUnserved(cache, deviceIndex)
        await this.#everywhere('retireDevice', device)
        await this.#shareOut(cache)
        await emptyDevice(pool, deviceIndex, () => this.#vacated(cache, deviceIndex, options.flush), {
          ...options,
          clock: this.options.clock,
        })
      }
      await pool.remove(deviceIndex)
    } catch (error) {
      pool.readmit(deviceIndex)
      await this.#everywhere('readmitDevice', device)
      throw error
    } finally {
      await this.#roomChanged(cache)
    }
  }

  /** The disks of a cache, as who empties a device of it sees them now. */
  async #vacated(cache: OpenCache, deviceIndex: number, flush: (disk: string) => Promise<void>): Promise<Vacated[]> {
    await this.#refresh()
    return this.#disksOf(cache).map(({ settings: { name }, thread, status }) => ({
      vacate: () => thread.calls.call('vacateDevice', { name, deviceIndex }),
      isDirty: () => status.dirty.dirtyBytes > 0,
      flush: () => flush(name),
    }))
  }

  /** While a device is emptied every disk has a part of the rest, so that there is room for what was written there. */
  async #shareOut(cache: OpenCache): Promise<void> {
    const disks = this.#disksOf(cache)
    const { sharedChunks, chunkBytes } = cache.pool
    const shares = disks.map(({ settings: { minBytes, shares } }) => ({
      minimum: Math.ceil(minBytes / chunkBytes),
      // Where all of them rest, what they have is kept all the same.
      shares: Math.max(shares, 1),
    }))
    // Logs that are not served keep what they have; threads keep a few free chunks each.
    const room = [...cache.pool.logs.values()].reduce((left, { length }) => left - length, sharedChunks)
    const parts = partsOf(shares, room - SPARE_CHUNKS * this.ioThreads) ?? partsOf(shares, room)
    if (parts === undefined) {
      throw new VmcacheError(
        'NO_SPACE',
        `the other devices of cache ${cache.name} have ${sharedChunks} chunks for disks, which is less than its ${disks.length} disks are promised`,
        { hint: 'add a device first, detach a disk, or lower the min of one' },
      )
    }
    await Promise.all(
      disks.map(({ settings: { name, maxBytes }, thread }, index) => {
        const maximumChunks = Math.min(parts[index]!, this.#maximumChunks(cache, maxBytes))
        return thread.calls.call('change', { name, maximumChunks })
      }),
    )
  }

  /** The cache has more or fewer chunks than before: tells disks how many they may have, and threads that wait. */
  async #roomChanged(cache: OpenCache): Promise<void> {
    await Promise.all(
      this.#disksOf(cache).map(({ settings: { name, maxBytes }, thread }) =>
        thread.calls.call('change', { name, maximumChunks: this.#maximumChunks(cache, maxBytes) }),
      ),
    )
    cache.supply.serve()
  }

  #everywhere<K extends 'openDevice' | 'closeDevice' | 'retireDevice' | 'readmitDevice' | 'collect'>(
    name: K,
    argument: Parameters<ThreadCalls[K]>[0],
  ): Promise<unknown> {
    return Promise.all(this.#threads.map(({ calls }) => calls.call(name, argument as never)))
  }

  /** A log whose disk is not served cannot be moved. */
  #refuseUnserved({ name, pool }: OpenCache, deviceIndex: number): void {
    const there = [...pool.logs.values()].filter((chunks) => chunks.some((chunk) => chunk.deviceIndex === deviceIndex))
    if (there.length === 0) return
    const disks = there.map((chunks) => chunks[0]!.header.diskName)
    throw new VmcacheError(
      'REFUSED',
      `disks of cache ${name} have data there and are not served: ${disks.join(', ')}`,
      {
        hint: 'mend what keeps them from it (vmcache status), or detach them',
        details: { disks },
      },
    )
  }

  /** What a device that cannot be read may have must be nobody's last copy. */
  #refuseToLose({ name, pool }: OpenCache, deviceIndex: number | undefined): void {
    const failed = [...this.#disks.values()].filter(
      (disk) => disk.cache?.pool === pool && disk.status.state === 'failed',
    )
    const unserved = [...pool.logs.values()].map((chunks) => chunks[0]!.header.diskName)
    const disks = [...failed.map(({ settings }) => settings.name), ...unserved]
    if (disks.length === 0) return
    const what = deviceIndex === undefined ? 'is missing' : 'has failed'
    throw new VmcacheError(
      'DIRTY_DATA',
      `the device ${what}, and may have what the origins of these disks of cache ${name} lack: ${disks.join(', ')}`,
      { hint: 'bring it back, or detach these disks first', details: { disks } },
    )
  }

  async closeCache(name: string): Promise<void> {
    const cache = this.#cache(name)
    assert(this.#disksOf(cache).length === 0, `cache ${name} has no attached disk when it is closed`)
    await cache.checkpoints.close()
    await Promise.all(this.#threads.map(({ calls }) => calls.call('closeCache', cache.pool.cacheId)))
    this.#caches.delete(name)
    await cache.media.closeAll()
    for (const { device } of cache.pool.members) await device.close()
    for (const lock of cache.locks.values()) await lock.release()
  }

  async eraseCache(name: string): Promise<void> {
    const cache = this.#cache(name)
    assert(this.#disksOf(cache).length === 0, `cache ${name} has no attached disk when it is erased`)
    refuseCheckpoints(cache, () => true)
    for (const { device, position } of cache.pool.members) {
      if (!cache.deviceErrors.has(position)) await eraseSuperblocks(device)
    }
    await this.closeCache(name)
  }

  caches(): EngineCache[] {
    return [...this.#caches.values()].map((cache) => this.#describeCache(cache))
  }

  #describeCache(cache: OpenCache): EngineCache {
    const { pool, deviceErrors, spareCounts } = cache
    const disks = this.#disksOf(cache)
    const spare = spareCounts.reduce((sum, count) => sum + Atomics.load(count, 0), 0)
    const checkpoint = pool.objectChunks
    const [free, disk] = [pool.freeChunks + spare, Math.max(0, pool.heldChunks - spare - checkpoint)]
    const here = pool.members.map(({ device, superblock, position }) => ({
      id: superblock.deviceId,
      path: device.path,
      sizeBytes: device.sizeBytes,
      chunks: superblock.chunkCount,
      state: deviceErrors.has(position) ? ('failed' as const) : ('ok' as const),
      errors: deviceErrors.get(position) ?? 0,
    }))
    const missing = pool.missing.map(({ id, chunkCount }) => ({
      id,
      path: `id=${id}`,
      sizeBytes: chunkCount * pool.chunkBytes,
      chunks: chunkCount,
      state: 'missing' as const,
      errors: 0,
    }))
    const whole = missing.length === 0 && here.every(({ state }) => state === 'ok')
    return {
      name: cache.name,
      state: whole ? 'open' : pool.usableChunks > 0 ? 'degraded' : 'failed',
      blockSizeBytes: pool.blockBytes,
      chunkSizeBytes: pool.chunkBytes,
      chunks: { total: pool.totalChunks, free, disk, checkpoint, mirror: 0, reserved: pool.reservations.total },
      sizeBytes: pool.totalChunks * pool.chunkBytes,
      indexBytes: disks.reduce((sum, { status }) => sum + status.indexBytes, 0),
      ...dirtyOfAll(disks.map(({ status }) => status)),
      devices: [...here, ...missing],
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

  /** Caches in which a chunk was asked for a moment ago. */
  readonly #rebalancing = new Set<OpenCache>()
  /** Disks whose logs are being opened. */
  readonly #opening = new Set<{ readonly cache: OpenCache; readonly settings: DiskSettings }>()

  /** Hands a thread its next chunk; where none is free, another disk that has more than its part gives one up. */
  #grant(cacheId: string, thread: IoThread): void {
    const cache = this.#cacheById(cacheId)
    if (cache === undefined) return
    cache.supply.ask(thread)
    if (cache.supply.isStarved) this.#rebalanceSoon(cache)
  }

  /** Where somebody has less than its part, or nothing yet, another one gives up a chunk; again and again while a thread waits for one. */
  async #rebalance(cache: OpenCache): Promise<void> {
    if (this.#rebalancing.has(cache)) return
    this.#rebalancing.add(cache)
    try {
      // A log that was opened keeps no chunks from others any more.
      cache.supply.serve()
      await this.#refresh()
      const { sharedChunks } = cache.pool
      const now = this.options.clock.monotonic()
      const disks = this.#disksOf(cache)
      const weights = weightsOf(
        disks.map(({ settings: { shares }, demand }) => ({ shares, gain: demand.gain, isIdle: demand.isIdle(now) })),
      )
      const holders = disks.map((disk, index) => ({
        disk,
        chunks: disk.status.chunks,
        weight: weights[index]!,
        minChunks: promisedChunks(cache, disk.settings),
      }))
      const opening = [...this.#opening]
        .filter((disk) => disk.cache === cache)
        .map(({ settings }): Tenant => ({ weight: settings.shares, minChunks: promisedChunks(cache, settings) }))
      const giver = whoGives(holders, opening, sharedChunks)
      if (giver !== undefined) {
        const { settings, thread } = giver.disk
        // Not waited for: it may itself need the chunk that somebody else gives back.
        thread.calls.call('shrink', { name: settings.name, count: giver.chunks - 1 }).catch(() => undefined)
      }
    } finally {
      this.options.clock.after(REBALANCE_MILLISECONDS, () => {
        this.#rebalancing.delete(cache)
        const isOpen = this.#caches.get(cache.name) === cache
        // Also while it is closed: what is dirty may need a chunk to come to an end.
        if (isOpen && cache.supply.isStarved) this.#rebalanceSoon(cache)
      })
    }
  }

  #rebalanceSoon(cache: OpenCache): void {
    // A thread that ends takes its logs with it.
    this.#rebalance(cache).catch(() => undefined)
  }

  // ----------------------------------------------------------------------------------------------------- checkpoints

  reserve(cache: string, ...rest: Parameters<Checkpoints['reserve']>): Promise<number> {
    return this.#cache(cache).checkpoints.reserve(...rest)
  }

  makeCheckpointDirectory(directory: string): Promise<void> {
    return this.#files.make(directory)
  }

  writeCheckpoint(place: CheckpointPlace, source: CheckpointSource, watch: StreamWatch): Promise<EngineCheckpoint> {
    const createdAt = this.options.clock.now()
    const fill = fromSocket(source.socket, watch.ready)
    return this.#keeper(place).keep({ ...source, createdAt, fill }, watch)
  }

  async copyCheckpoint(
    from: CheckpointPlace,
    id: string,
    to: CheckpointPlace,
    watch: CheckpointWatch,
  ): Promise<EngineCheckpoint> {
    // Where the first place hangs, the copy is not to be finished when it no longer does.
    const ended = new AbortController()
    const untilEnd = { ...watch, signal: AbortSignal.any([watch.signal, ended.signal]) }
    const copy: Borrow<EngineCheckpoint> = (checkpoint, pieces) => {
      const createdAt = Date.parse(checkpoint.createdAt)
      return this.#keeper(to).keep({ ...checkpoint, createdAt, fill: fromPieces(pieces, checkpoint.bytes) }, untilEnd)
    }
    try {
      return await this.#keeper(from).lend(id, watch, copy)
    } finally {
      ended.abort()
    }
  }

  verifyCheckpoint(place: CheckpointPlace, id: string, watch: CheckpointWatch): Promise<EngineCheckpoint> {
    return this.#keeper(place).verifyCheckpoint(id, watch)
  }

  readCheckpoint(place: CheckpointPlace, id: string, socket: string, watch: StreamWatch): Promise<void> {
    return this.#keeper(place).readCheckpoint(id, socket, watch)
  }

  checkpoints(place: CheckpointPlace): Promise<EngineCheckpoint[]> {
    return this.#keeper(place).checkpoints()
  }

  deleteCheckpoint(place: CheckpointPlace, id: string): Promise<void> {
    return this.#keeper(place).deleteCheckpoint(id)
  }

  #keeper(place: CheckpointPlace): CheckpointKeeper {
    return 'cache' in place ? this.#cache(place.cache).checkpoints : this.#files.at(place.directory)
  }

  /** The disks of a cache, as who needs chunks of them sees them now. */
  async #givers(cache: OpenCache): Promise<Giver[]> {
    await this.#refresh()
    return this.#disksOf(cache).map(({ settings, status, thread: { calls } }) => ({
      name: settings.name,
      chunks: status.chunks,
      floor: promisedChunks(cache, settings),
      shares: settings.shares,
      isDirty: status.dirty.dirtyBytes > 0,
      limit: async (count) => {
        const { name } = settings
        await calls.call('change', {
          name,
          maximumChunks: Math.min(count, this.#maximumChunks(cache, settings.maxBytes)),
        })
        await calls.call('shrink', { name, count })
      },
      flush: () => calls.call('flush', { name: settings.name, holdMilliseconds: 0 }),
    }))
  }

  #heldBack(cache: OpenCache): number {
    const served = this.#disksOf(cache).map(({ settings }) => settings)
    const opening = [...this.#opening].flatMap((each) => (each.cache === cache ? [each.settings] : []))
    const promised = [...served, ...opening].reduce((sum, settings) => sum + promisedChunks(cache, settings), 0)
    return [...cache.pool.logs.values()].reduce((sum, { length }) => sum + length, promised)
  }

  async #collect(cache: OpenCache, isCollecting: boolean): Promise<void> {
    await this.#everywhere('collect', { cacheId: cache.pool.cacheId, isCollecting })
    if (!isCollecting) await this.#roomChanged(cache)
  }

  // ----------------------------------------------------------------------------------------------------------- disks

  async attach(settings: DiskSettings): Promise<EngineDisk> {
    assert(!this.#disks.has(settings.name), `disk ${settings.name} is not attached yet`)
    const cache = settings.withoutLog === null ? this.#cache(settings.cache) : undefined
    const thread = this.#leastLoaded()
    const trustCleanPages = settings.trustCleanPages && cache?.pool.missing.length === 0
    const { ports, counters } = await this.#shareDisk(thread, settings.readOnly)
    const own = DiskCounters.create()
    counters.set(thread.number, own)
    const status = await this.#withPlace(cache, settings, (place) => {
      const wanted = { settings: { ...settings, trustCleanPages }, place, counters: own.buffer, readers: ports }
      return thread.calls.call('attach', wanted, ports)
    })
    const windows = new DiskWindows([...counters.values()], this.options.clock)
    const demand = new Demand(this.options.clock.monotonic())
    const attached = { settings, cache, thread, counters, windows, demand, status }
    this.#disks.set(settings.name, attached)
    return describeDisk(attached)
  }

  /** Prepares every other thread to serve a disk as well, where nobody writes it; the ports to them are for its owner. */
  async #shareDisk(
    owner: IoThread,
    isReadOnly: boolean,
  ): Promise<{ ports: MessagePort[]; counters: Map<number, DiskCounters> }> {
    const ports: MessagePort[] = []
    const counters = new Map<number, DiskCounters>()
    for (const { number, calls } of isReadOnly ? this.#threads : []) {
      if (number === owner.number) continue
      const { port1, port2 } = new MessageChannel()
      const counted = DiskCounters.create()
      await calls.call('share', { owner: port2, counters: counted.buffer }, [port2])
      ports.push(port1)
      counters.set(number, counted)
    }
    return { ports, counters }
  }

  async resumeLog(name: string, epoch: number): Promise<EngineDisk> {
    const disk = this.#disk(name)
    const cache = this.#cache(disk.settings.cache)
    const { pool } = cache
    const room = pool.availableChunks + (pool.logs.get(disk.settings.logId)?.length ?? 0)
    if (room < MINIMUM_SHARE_CHUNKS) {
      // A log that waits for its first chunk would hold up the disk.
      throw new VmcacheError(
        'NO_SPACE',
        `cache ${cache.name} has ${room} free chunks, a log needs ${MINIMUM_SHARE_CHUNKS}`,
      )
    }
    const status = await this.#withPlace(cache, disk.settings, (place) =>
      disk.thread.calls.call('resumeLog', { name, epoch, place: place! }),
    )
    disk.cache = cache
    this.#note(disk, status)
    return describeDisk(disk)
  }

  /** Gives `work` what the disk's log has in the cache; where it fails the pool has it back. */
  async #withPlace<Result>(
    cache: OpenCache | undefined,
    settings: DiskSettings,
    work: (place: ThreadLogPlace | null) => Promise<Result>,
  ): Promise<Result> {
    if (cache === undefined) return work(null)
    const { name, logId, maxBytes } = settings
    const { pool } = cache
    refuseDoubtful(pool, name, logId)
    const found: readonly FoundChunkPlace[] = pool.claim(logId)
    const opening = { cache, settings }
    this.#opening.add(opening)
    try {
      return await work({ cacheId: pool.cacheId, found, maximumChunks: this.#maximumChunks(cache, maxBytes) })
    } catch (error) {
      await pool.returnLog(found)
      throw error
    } finally {
      this.#opening.delete(opening)
      cache.supply.serve()
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
    const { keepLog, discardDirty } = options
    const chunks = await this.#whileDraining(disk, options, () =>
      disk.thread.calls.call('detach', { name, keepLog, discardDirty, drainMilliseconds: null }),
    )
    this.#disks.delete(name)
    await disk.cache?.pool.returnLog(chunks)
  }

  async disks(): Promise<EngineDisk[]> {
    await this.#refresh()
    return [...this.#disks.values()].map(describeDisk)
  }

  async #refresh(): Promise<void> {
    const statuses = await Promise.all(this.#threads.map(({ calls }) => calls.call('status', null)))
    for (const status of statuses.flat()) {
      const disk = this.#disks.get(status.name)
      if (disk !== undefined) this.#note(disk, status)
    }
  }

  #note(disk: AttachedDisk, status: ThreadDiskStatus): void {
    const found = status.badPages - disk.status.badPages
    disk.status = status
    if (found > 0) this.#emit(badPagesEvent(disk, found))
  }

  async flush(name: string, options: Parameters<Engine['flush']>[1]): Promise<void> {
    const disk = this.#disk(name)
    const { holdMilliseconds = 0 } = options
    await this.#whileDraining(disk, options, () => disk.thread.calls.call('flush', { name, holdMilliseconds }))
  }

  /** Shows how what is dirty becomes less while `work` waits for that; ends the wait when `signal` is raised. */
  async #whileDraining<R>(
    { settings: { name }, thread }: AttachedDisk,
    { progress, signal }: { progress: Progress; signal: AbortSignal },
    work: () => Promise<R>,
  ): Promise<R> {
    const { clock } = this.options
    let stop: () => void = () => undefined
    let most = 0
    const show = async (): Promise<void> => {
      await this.#refresh()
      const dirtyBytes = this.#disks.get(name)?.status.dirty.dirtyBytes ?? 0
      most = Math.max(most, dirtyBytes)
      if (most > 0) progress(most - dirtyBytes, most, 'bytes')
      stop = clock.after(PROGRESS_MILLISECONDS, () => void show().catch(() => undefined))
    }
    const cancel = (): void => void thread.calls.call('cancel', name)
    signal.addEventListener('abort', cancel, { once: true })
    try {
      const done = work()
      if (signal.aborted) cancel()
      stop = clock.after(PROGRESS_MILLISECONDS, () => void show().catch(() => undefined))
      return await done
    } finally {
      signal.removeEventListener('abort', cancel)
      stop()
    }
  }

  async invalidate(name: string): Promise<void> {
    await this.#disk(name).thread.calls.call('invalidate', name)
  }

  async change(
    name: string,
    wanted: Parameters<Engine['change']>[1],
    options: Parameters<Engine['change']>[2] = UNWATCHED,
  ): Promise<void> {
    const disk = this.#disk(name)
    const settings = { ...disk.settings, ...wanted }
    const { mode, replacement, writeBack } = wanted
    const status = await this.#whileDraining(disk, options, () =>
      disk.thread.calls.call('change', {
        name,
        ...(disk.cache === undefined ? {} : { maximumChunks: this.#maximumChunks(disk.cache, settings.maxBytes) }),
        ...(mode === undefined ? {} : { mode }),
        ...(replacement === undefined ? {} : { replacement }),
        ...(writeBack === undefined ? {} : { writeBack }),
      }),
    )
    this.#note(disk, status)
    disk.settings = settings
  }

  #disk(name: string): AttachedDisk {
    const disk = this.#disks.get(name)
    assert(disk !== undefined, `disk ${name} is attached`)
    return disk
  }

  // ------------------------------------------------------------------------------------------------------ statistics

  async responds(): Promise<void> {
    await Promise.all(this.#threads.map(({ calls }) => calls.call('status', null)))
  }

  async stats(names: readonly string[], window: Parameters<Engine['stats']>[1]): ReturnType<Engine['stats']> {
    await this.#refresh()
    const chosen = [...this.#disks.values()].filter(
      ({ settings }) => names.length === 0 || names.includes(settings.name),
    )
    const spans = chosen.map((disk) => ({ disk, span: disk.windows.over(window) }))
    return {
      window,
      disks: spans.map(({ disk, span }) =>
        diskStats(span, { disk: disk.settings.name, cache: disk.settings.cache, ...dirtyOf(disk.status) }),
      ),
      caches: [...new Set(chosen.map(({ settings }) => settings.cache))].map((cache) =>
        cacheStats(
          cache,
          spans.filter(({ disk }) => disk.settings.cache === cache).map(({ span }) => span.counters),
        ),
      ),
    }
  }

  async metrics(): Promise<string> {
    await this.#refresh()
    const disks = [...this.#disks.values()].map((disk) => {
      return { document: describeDisk(disk), counters: sumOf([...disk.counters.values()]), threads: disk.counters }
    })
    return prometheusText(this.caches(), disks)
  }

  #sampleLater(): void {
    this.#stopSampling = this.options.clock.after(SAMPLE_MILLISECONDS, () => {
      for (const { windows } of this.#disks.values()) windows.sample()
      // Tells of pages that were found bad, whether or not anybody asks.
      this.#refresh().then(
        () => this.#noteDemands(),
        () => undefined,
      )
      this.#sampleLater()
    })
  }

  #noteDemands(): void {
    const now = this.options.clock.monotonic()
    for (const disk of this.#disks.values()) {
      const { returns, chunks } = disk.status
      disk.demand.note({ requests: requestsOf(disk), returns, chunks }, now)
    }
  }

  /** Ends service everywhere. A disk that cannot be closed cleanly is left as a kill would leave it, and the error is passed on. */
  async close({ drainMilliseconds }: Parameters<Engine['close']>[0]): Promise<void> {
    this.#closing = true
    this.#stopSampling()
    await this.#files.close()
    const failures: string[] = []
    const close = async ([name, { thread }]: [string, AttachedDisk]): Promise<void> => {
      try {
        await thread.calls.call('detach', { name, keepLog: true, discardDirty: false, drainMilliseconds })
        this.#disks.delete(name)
      } catch (error) {
        failures.push(`${name}: ${messageOf(error)}`)
      }
    }
    await Promise.all([...this.#disks].map(close))
    if (failures.length === 0) for (const name of [...this.#caches.keys()]) await this.closeCache(name)
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
    if (failures.length > 0) throw new VmcacheError('FAILED', `disks were not closed cleanly: ${failures.join('; ')}`)
  }
}

/** What a disk keeps of its cache, whoever needs room. */
function promisedChunks({ pool }: OpenCache, { minBytes }: DiskSettings): number {
  return Math.max(Math.ceil(minBytes / pool.chunkBytes), MINIMUM_SHARE_CHUNKS)
}

/** REFUSED where something would be lost of a checkpoint: `isThere` says of which. */
function refuseCheckpoints({ name, pool }: OpenCache, isThere: (object: StoredObject) => boolean): void {
  const there = [...pool.objects.values()].filter((object) => object.state === 'sealed' && isThere(object))
  if (there.length === 0) return
  const vms = there.map(({ id, seal }) => seal?.name ?? id)
  throw new VmcacheError('REFUSED', `cache ${name} has checkpoints of suspended VMs there: ${vms.join(', ')}`, {
    hint: 'resume these VMs first; or lose their memory: vmcache checkpoint delete VM --discard-memory',
    details: { checkpoints: there.map(({ id }) => id) },
  })
}

function foundChunks(pool: Pool, places: readonly FoundChunkPlace[]): FoundChunk[] {
  return places.map((place) => ({ chunk: pool.chunkAt(place), header: place.header }))
}

function badPagesEvent({ settings }: AttachedDisk, count: number): Parameters<EventListener>[0] {
  const reason = `${count} cached pages did not have their checksum, and were read from the origin again`
  return { what: 'disk.bad-pages', cache: settings.cache, disk: settings.name, reason }
}

function damagedPagesEvent(cache: string, disk: string, pages: readonly number[]): Parameters<EventListener>[0] {
  const reason = `${pages.length} cached pages that the origin lacks do not have their checksum: ${pages.slice(0, 10).join(', ')}${pages.length > 10 ? ' ...' : ''}`
  return { what: 'disk.damaged-pages', cache, disk, reason }
}

function requestsOf({ counters }: AttachedDisk): number {
  let requests = 0
  for (const each of counters.values()) requests += each.get('reads') + each.get('writes') + each.get('flushes')
  return requests
}

/** CORRUPT where what the disk wrote last may have been in a chunk that cannot be told any more. */
function refuseDoubtful(pool: Pool, disk: string, logId: string): void {
  if (!pool.doubtfulLogs.has(logId)) return
  throw new VmcacheError(
    'CORRUPT',
    `${pool.damagedChunks} chunks of cache ${pool.cacheName} have a damaged header, and one of them may hold what the origin of disk ${disk} lacks`,
    {
      hint: `let it go on from what the cache has, or from the origin: vmcache disk resolve ${disk} --keep cache|origin`,
    },
  )
}

/** Whether the device was one of this cache, or was to become one, and is not. */
async function isLeftOver(pool: Pool, path: string): Promise<boolean> {
  const device = await openDevice(path, { readOnly: true }).catch(() => undefined)
  if (device === undefined) return false
  try {
    const superblock = await readSuperblock(device).catch(() => undefined)
    const isOurs = (id: string): boolean =>
      [
        ...pool.members.map(({ superblock: { deviceId } }) => deviceId),
        ...pool.missing.map((each) => each.id),
      ].includes(id)
    return superblock?.cacheId === pool.cacheId && !isOurs(superblock.deviceId)
  } finally {
    await device.close()
  }
}

function lastDevice(cache: string, path: string): VmcacheError {
  return new VmcacheError('REFUSED', `device ${path} is the last one of cache ${cache}`, {
    hint: `add another one first (vmcache device replace ${cache} ${path} NEW), or: vmcache cache delete ${cache}`,
  })
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

function dirtyOf({ dirty }: ThreadDiskStatus): { dirtyBytes: number; dirtyAgeSeconds: number | null } {
  return { dirtyBytes: dirty.dirtyBytes, dirtyAgeSeconds: dirty.dirtyBytes > 0 ? dirty.dirtyAgeSeconds : null }
}

function dirtyOfAll(disks: readonly ThreadDiskStatus[]): { dirtyBytes: number; dirtyAgeSeconds: number | null } {
  const dirty = disks.map(dirtyOf).filter(({ dirtyBytes }) => dirtyBytes > 0)
  return {
    dirtyBytes: dirty.reduce((sum, { dirtyBytes }) => sum + dirtyBytes, 0),
    dirtyAgeSeconds: dirty.length === 0 ? null : Math.max(...dirty.map(({ dirtyAgeSeconds }) => dirtyAgeSeconds ?? 0)),
  }
}

function describeDisk({ settings, status, cache }: AttachedDisk): EngineDisk {
  return {
    disk: settings.name,
    cache: settings.cache,
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
    writeBack: settings.writeBack,
    allocatedBytes: status.chunks * (cache?.pool.chunkBytes ?? 0),
    cachedBytes: status.cachedBytes,
    ...dirtyOf(status),
    secondsToFlush: status.dirty.dirtyBytes > 0 ? status.dirty.secondsToFlush : null,
    stuckPages: status.dirty.stuckPages,
    lostPages: status.dirty.lostPages,
    badPages: status.badPages,
    phase: status.phase,
    state: status.state,
    reason: status.reason,
  }
}

import { assert } from '../../base/assert.js'
import { VmcacheError } from '../../base/errors.js'
import { openDevice } from '../device/open-device.js'
import { Media } from '../device/media.js'
import { openMedium } from '../device/open-medium.js'
import type { Device } from '../device/device.js'
import type { Chunk, ChunkSource } from '../log/chunk-source.js'
import type { ChunkPlace } from '../pool/pool.js'
import { watchDevice } from '../pool/watch-device.js'
import type { ThreadCacheSettings } from './messages.js'

/** Free chunks that a thread keeps; it gives back what is more. */
const MOST_KEPT = 2

/** What a thread's part of a cache tells. */
export interface ThreadCacheListener {
  /** There is no free chunk left. */
  want(): void
  give(chunks: readonly ChunkPlace[]): void
  /** An error of a device that this thread met. */
  failed(deviceIndex: number, reason: string): void
  /** A device is not to be used any more, whoever met its failure. */
  left(): void
}

/** One cache as a thread sees it: its own descriptors of the devices, and the free chunks that it was handed. */
export class ThreadCache implements ChunkSource {
  readonly cacheId: string
  readonly chunkBytes: number
  exhausted = false
  /** Devices that are not used any more, by their position in the cache. */
  readonly failures = new Map<number, VmcacheError>()
  /** By their position in the cache; undefined where one was removed. */
  readonly #devices: (Device | undefined)[]
  /** Devices that are being removed: their chunks go back to the main thread. */
  readonly #retired = new Set<number>()
  /** The same devices past the page cache, as far as anybody has asked for them. */
  readonly #media = new Media((position) =>
    openMedium(this.#device(position).path, { readOnly: true }).then((device) => this.#watch(device, position)),
  )
  readonly #spareCount: Int32Array
  #free: Chunk[] = []
  /** Others need chunks: none is kept here. */
  #isCollecting = false
  #asked = false
  #waiters: (() => void)[] = []

  private constructor(
    readonly settings: ThreadCacheSettings,
    devices: readonly Device[],
    readonly listener: ThreadCacheListener,
  ) {
    this.cacheId = settings.cacheId
    this.chunkBytes = settings.chunkBytes
    this.#spareCount = new Int32Array(settings.spareCount)
    this.#devices = devices.map((device, index) => this.#watch(device, index))
  }

  #watch(device: Device, deviceIndex: number): Device {
    return watchDevice(device, ({ message }) => {
      this.leave(deviceIndex, message)
      this.listener.failed(deviceIndex, message)
    })
  }

  static async open(settings: ThreadCacheSettings, listener: ThreadCacheListener): Promise<ThreadCache> {
    const devices: Device[] = []
    try {
      for (const path of settings.devices) devices.push(await openDevice(path))
    } catch (error) {
      for (const device of devices) await device.close()
      throw error
    }
    return new ThreadCache(settings, devices, listener)
  }

  async close(): Promise<void> {
    this.listener.give(this.#free.splice(0).map(placeOf))
    this.#count()
    for (const position of this.#devices.keys()) await this.closeDevice(position)
  }

  /** Takes up a device that the cache was given. */
  async openDevice(deviceIndex: number, path: string): Promise<void> {
    this.#devices[deviceIndex] = this.#watch(await openDevice(path), deviceIndex)
  }

  /** Closes a device of which nothing is held. */
  async closeDevice(deviceIndex: number): Promise<void> {
    const device = this.#devices[deviceIndex]
    this.#devices[deviceIndex] = undefined
    await this.#media.close(deviceIndex)
    await device?.close()
  }

  /** Keeps no free chunk of the device any more. */
  retire(deviceIndex: number): void {
    this.#retired.add(deviceIndex)
    const [given, kept] = [true, false].map((isGiven) =>
      this.#free.filter((chunk) => (chunk.deviceIndex === deviceIndex) === isGiven),
    )
    this.#free = kept!
    this.listener.give(given!.map(placeOf))
    this.#changed()
  }

  /** Keeps no free chunk at all any more, until it is told otherwise. */
  collect(isCollecting: boolean): void {
    this.#isCollecting = isCollecting
    if (isCollecting) this.listener.give(this.#free.splice(0).map(placeOf))
    this.#changed()
  }

  readmit(deviceIndex: number): void {
    this.#retired.delete(deviceIndex)
  }

  /** A device for reading what really is on it. */
  medium(deviceIndex: number): Promise<Device> {
    return this.#media.at(deviceIndex)
  }

  chunkAt({ deviceIndex, index, generation }: ChunkPlace): Chunk {
    const offset = this.settings.firstChunkOffset + index * this.chunkBytes
    return { device: this.#device(deviceIndex), deviceIndex, index, offset, generation }
  }

  #device(deviceIndex: number): Device {
    const device = this.#devices[deviceIndex]
    assert(device !== undefined, 'a device of which chunks are held is open')
    return device
  }

  /** Asks for a chunk ahead of need. */
  prepare(): void {
    if (this.#free.length > 0 || this.#asked) return
    this.#asked = true
    this.listener.want()
  }

  /** Where there are none the next one comes unasked. */
  granted(chunks: readonly ChunkPlace[], exhausted: boolean): void {
    const isNews = chunks.length > 0 || exhausted !== this.exhausted
    if (chunks.length > 0) this.#asked = false
    this.exhausted = exhausted
    if (!isNews) return
    for (const place of chunks) {
      if (this.#retired.has(place.deviceIndex)) this.listener.give([place])
      else if (!this.failures.has(place.deviceIndex)) this.#free.push(this.chunkAt(place))
    }
    this.#changed()
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const preferred = this.#free.findIndex((chunk) => chunk.deviceIndex === preferredDevice)
    const [chunk] = this.#free.splice(Math.max(preferred, 0), 1)
    this.#count()
    this.prepare()
    return chunk
  }

  give(chunk: Chunk): void {
    if (this.failures.has(chunk.deviceIndex)) return
    const isKept = this.#free.length < MOST_KEPT && !this.#isCollecting && !this.#retired.has(chunk.deviceIndex)
    if (!isKept) this.listener.give([placeOf(chunk)])
    else {
      this.#free.push(chunk)
      this.#changed()
    }
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
    this.prepare()
  }

  /** Nothing is read from or written to the device any more. */
  leave(deviceIndex: number, reason: string): void {
    if (this.failures.has(deviceIndex)) return
    this.failures.set(deviceIndex, new VmcacheError('DEVICE_FAILED', reason))
    this.#free = this.#free.filter((chunk) => chunk.deviceIndex !== deviceIndex)
    this.listener.left()
    this.#changed()
  }

  #changed(): void {
    this.#count()
    for (const waiter of this.#waiters.splice(0)) waiter()
  }

  /** Tells the main thread how many chunks are spare. */
  #count(): void {
    Atomics.store(this.#spareCount, 0, this.#free.length)
  }
}

export function placeOf({ deviceIndex, index, generation }: Chunk): ChunkPlace {
  return { deviceIndex, index, generation }
}

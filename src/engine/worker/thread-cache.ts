import { openDevice } from '../device/open-device.js'
import type { Device } from '../device/device.js'
import type { Chunk, ChunkSource } from '../log/chunk-source.js'
import type { ChunkPlace } from '../pool/pool.js'
import type { ThreadCacheSettings } from './messages.js'

/** Free chunks that a thread keeps; it gives back what is more. */
const MOST_KEPT = 2

/** One cache as a thread sees it: its own descriptors of the devices, and the free chunks that it was handed. */
export class ThreadCache implements ChunkSource {
  readonly cacheId: string
  readonly chunkBytes: number
  exhausted = false
  readonly #free: Chunk[] = []
  #asked = false
  #waiters: (() => void)[] = []

  private constructor(
    readonly settings: ThreadCacheSettings,
    readonly devices: readonly Device[],
    readonly main: { want(): void; give(chunks: readonly ChunkPlace[]): void },
  ) {
    this.cacheId = settings.cacheId
    this.chunkBytes = settings.chunkBytes
  }

  static async open(settings: ThreadCacheSettings, main: ThreadCache['main']): Promise<ThreadCache> {
    const devices: Device[] = []
    try {
      for (const path of settings.devices) devices.push(await openDevice(path))
    } catch (error) {
      for (const device of devices) await device.close()
      throw error
    }
    return new ThreadCache(settings, devices, main)
  }

  async close(): Promise<void> {
    this.main.give(this.#free.splice(0).map(placeOf))
    for (const device of this.devices) await device.close()
  }

  chunkAt({ deviceIndex, index, generation }: ChunkPlace): Chunk {
    const offset = this.settings.firstChunkOffset + index * this.chunkBytes
    return { device: this.devices[deviceIndex]!, deviceIndex, index, offset, generation }
  }

  /** Asks for a chunk ahead of need. */
  prepare(): void {
    if (this.#free.length > 0 || this.#asked) return
    this.#asked = true
    this.main.want()
  }

  granted(chunks: readonly ChunkPlace[], exhausted: boolean): void {
    this.#asked = false
    this.exhausted = exhausted
    for (const place of chunks) this.#free.push(this.chunkAt(place))
    this.#changed()
  }

  take(preferredDevice: number | undefined): Chunk | undefined {
    const preferred = this.#free.findIndex((chunk) => chunk.deviceIndex === preferredDevice)
    const [chunk] = this.#free.splice(Math.max(preferred, 0), 1)
    this.prepare()
    return chunk
  }

  give(chunk: Chunk): void {
    if (this.#free.length >= MOST_KEPT) this.main.give([placeOf(chunk)])
    else {
      this.#free.push(chunk)
      this.#changed()
    }
  }

  whenChanged(callback: () => void): void {
    this.#waiters.push(callback)
    this.prepare()
  }

  #changed(): void {
    for (const waiter of this.#waiters.splice(0)) waiter()
  }
}

export function placeOf({ deviceIndex, index, generation }: Chunk): ChunkPlace {
  return { deviceIndex, index, generation }
}

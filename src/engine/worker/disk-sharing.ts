import type { MessagePort } from 'node:worker_threads'
import type { Clock } from '../../base/clock.js'
import type { Disk } from '../disk/disk.js'
import { NOWHERE } from '../index/page-table.js'
import { LogFeed } from '../log/log-feed.js'
import type { Log } from '../log/log.js'
import { Calls } from './calls.js'
import type { DiskRange, OwnerCalls, ReaderCalls } from './sharing-messages.js'

interface Reader {
  readonly calls: Calls<ReaderCalls, OwnerCalls>
  connections: number
}

/**
 * The other threads that serve a read-only disk, as its owner sees them: it hands them connections, keeps their indexes up to date, and
 * answers what they miss. The owner alone has the log, its fills and the origin.
 */
export class DiskSharing {
  readonly #readers: readonly Reader[]
  #disk: Disk | undefined
  #feed: LogFeed | undefined
  #closed: Promise<void> | undefined

  constructor(
    /** One to each thread. */
    readonly ports: readonly MessagePort[],
    readonly clock: Clock,
  ) {
    this.#readers = ports.map((port) => {
      const reader: Reader = {
        calls: new Calls(
          port,
          this.#answers(() => reader.connections--),
        ),
        connections: 0,
      }
      return reader
    })
  }

  /** How many there are; each has an index as large as the log's, at most. */
  get threads(): number {
    return this.#readers.length
  }

  #answers(connectionEnded: () => void): Calls<ReaderCalls, OwnerCalls>['handlers'] {
    return {
      read: (range) => this.#read(range),
      prefetch: ({ offset, length }) => this.#disk!.prefetch(offset, length),
      allocation: ({ offset, length }) => this.#disk!.allocation(offset, length),
      flush: () => this.#disk!.flush(),
      noteHits: (pages) => this.#noteHits(pages),
      connectionEnded,
    }
  }

  /** The disk can be served. */
  open(disk: Disk): void {
    this.#disk = disk
    const { name, sizeBytes, minimumBlockBytes, preferredBlockBytes, canTrim, canZero } = disk
    this.#tell('open', { name, sizeBytes, minimumBlockBytes, preferredBlockBytes, canTrim, canZero })
  }

  /** Lets the threads follow a log that was just opened, instead of the one before. */
  follow(log: Log, cacheId: string): void {
    void this.endLog()
    this.#tell('beginLog', { cacheId, phase: log.identity.phase })
    this.#feed = new LogFeed(
      this.#readers.map(
        ({ calls }) =>
          (update) =>
            calls.call('followLog', update),
      ),
      this.clock,
    )
    log.follower = this.#feed
  }

  /** Ends when no thread reads the log any more, which nobody appends to from now on. */
  async endLog(): Promise<void> {
    await this.#feed?.end()
  }

  /** Ends when what the log has forgotten is forgotten everywhere. */
  async settled(): Promise<void> {
    await this.#feed?.settled()
  }

  /** Where a new connection goes: to the thread with the fewest; undefined for the owner, which has `own`. */
  elsewhere(own: number): ((descriptor: number) => void) | undefined {
    const fewest = this.#readers.reduce((best, each) => (each.connections < best.connections ? each : best))
    if (own <= fewest.connections) return undefined
    return (descriptor) => {
      fewest.connections++
      void fewest.calls.call('serve', descriptor)
    }
  }

  /** Ends when every connection has ended and nothing is read any more; the disk is open until then. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    await Promise.all(this.#readers.map(({ calls }) => calls.call('close', null)))
    await this.endLog()
    for (const port of this.ports) port.close()
  }

  #tell<K extends 'open' | 'beginLog'>(name: K, argument: Parameters<ReaderCalls[K]>[0]): void {
    for (const { calls } of this.#readers) void calls.call(name, argument as never)
  }

  async #read({ offset, length }: DiskRange): Promise<Uint8Array> {
    const data = Buffer.allocUnsafeSlow(length)
    const disk = this.#disk!
    if (!disk.tryRead(offset, length, data, 0)) await disk.read(offset, length, data, 0)
    return data
  }

  #noteHits(pages: Uint32Array): void {
    const log = this.#disk?.log
    if (log === undefined) return
    for (const page of pages) {
      const location = log.table.find(page)
      if (location === NOWHERE) continue
      const { heat } = log.slots[(location / log.entriesPerChunk) | 0]!.columns
      const ordinal = location % log.entriesPerChunk
      heat[ordinal] = log.replacement.hit(heat[ordinal]!)
    }
  }
}

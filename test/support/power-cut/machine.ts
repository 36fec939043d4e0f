import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Random } from '../../../src/base/random.js'
import { FIRST_CHUNK_OFFSET } from '../../../src/format/superblock.js'
import { PAGE_BYTES, REGION_BYTES, SECTOR_BYTES } from '../../../src/model/geometry.js'
import type { Mode } from '../../../src/model/mode.js'
import { startEngineProcess, type EngineProcess } from '../engine-process.js'
import { connectSimpleNbd, type SimpleNbdClient } from '../simple-nbd-client.js'
import { compileRecorder } from './compile-recorder.js'
import { DiskHistory } from './disk-history.js'
import { applySectors, stampsOf, writeImage } from './image-file.js'
import { runLoad, usedRuns } from './load.js'
import { now, readRecord, type RecordedEvent } from './read-record.js'
import { RECORDER } from './record-format.js'
import { stampedSectors } from './stamps.js'
import { replay, StorageModel, SURVIVALS } from './storage-model.js'

const CHUNK_BYTES = 256 * 1024
/** Of all devices together: so small that the load has to reclaim. */
const CACHE_CHUNKS = 16
const ORIGIN_BYTES = 4 * REGION_BYTES
/** Requests of the load of a life: where there are few, most of its moments are those of recovery. */
const REQUESTS = [100, 400, 1200]
const FIRST_REQUESTS = 1200
const DISK = 'disk'
const MOST_FAULTS = 8
const WAIT = { waitMilliseconds: 30_000 }
const PACKAGE = join(import.meta.dirname, '..', '..', '..', 'package.json')
/** Reads of the whole disk: small ones where something is cached, so that each is answered by itself. */
const SMALL_READ_BYTES = 32 * 1024
const LARGE_READ_BYTES = 1024 * 1024

export interface MachineOptions {
  /** Made and filled by this machine; the caller removes it. */
  readonly directory: string
  readonly mode: Mode
  readonly devices: number
  readonly random: Random
  /** Entry of another build's supervisor. */
  readonly main?: string
}

/** One engine, from its start to its end. */
export interface Life {
  readonly directory: string
  readonly events: readonly RecordedEvent[]
  /** What the client was told, from {@link settledAt} on. */
  readonly history: DiskHistory
  /** When all of the disk had been read and was found right. */
  readonly settledAt: number
  /** The life, and the moment of it, that this one began with; null for the first. */
  readonly before: { readonly life: Life; readonly cutAt: number } | null
  /** Time of the origin's file in the beginning, in milliseconds since 1970. */
  readonly modifiedAt: number
  /** Reads of the whole disk that the cache answered. */
  readonly warmReads: number
}

/** What was found wrong after a power cut. */
export class PowerCutFinding extends Error {}

/**
 * A host with one cached disk, whose power can be cut at any moment of an engine's life, again and again: the files are put back as that moment may have left
 * them, and the next engine runs on them, in a new boot.
 */
export class Machine {
  readonly #host: string
  readonly #devicePaths: readonly string[]
  readonly #originPath: string
  readonly #recorder: string
  #lives = 0

  constructor(readonly options: MachineOptions) {
    const { directory, devices } = options
    this.#host = join(directory, 'host')
    this.#devicePaths = Array.from({ length: devices }, (_, index) => join(this.#host, `device-${index}.img`))
    this.#originPath = join(this.#host, 'origin.img')
    this.#recorder = compileRecorder(join(directory, 'recorder'))
    mkdirSync(this.#host)
  }

  get #files(): readonly string[] {
    return [...this.#devicePaths, this.#originPath]
  }

  /** The life in which the cache is created, filled and written. */
  async begin(): Promise<Life> {
    const origin = Buffer.alloc(ORIGIN_BYTES)
    for (const { first, count } of usedRuns(ORIGIN_BYTES / SECTOR_BYTES)) {
      // The beginning is written, the rest reads as zeroes.
      stampedSectors(first, count / 2, 1).copy(origin, first * SECTOR_BYTES)
    }
    const deviceBytes = FIRST_CHUNK_OFFSET + (CACHE_CHUNKS / this.options.devices) * CHUNK_BYTES
    for (const path of this.#devicePaths) writeImage(path, Buffer.alloc(deviceBytes), { sparse: false })
    writeImage(this.#originPath, origin, { sparse: true })
    return this.#live(null, async ({ client }) => {
      await client.post('cache.create', this.#cacheRequest(), WAIT)
      await client.post('cache.attach', this.#attachRequest(), WAIT)
    })
  }

  #cacheRequest() {
    const devices = this.#devicePaths.map((path) => ({ path, sizeBytes: null }))
    const sizes = { blockSizeBytes: PAGE_BYTES, chunkSizeBytes: CHUNK_BYTES }
    return { name: 'fast', devices, ...sizes, force: false, dryRun: false }
  }

  #attachRequest() {
    const share = { minBytes: 0, maxBytes: null, shares: 100 }
    const flags = { readOnly: false, exclusive: false, dryRun: false }
    const { mode } = this.options
    return { cache: 'fast', origin: this.#originPath, name: DISK, mode, replacement: 's3-fifo', ...share, ...flags }
  }

  /** Cuts the power at a random moment of a life, and lives on with what may be left. Throws a {@link PowerCutFinding} where a promise was broken. */
  async cut(life: Life): Promise<Life> {
    const { random } = this.options
    // Who creates a cache and attaches a disk hears only at the end that they are there.
    const events = life.before === null ? life.events.filter(({ at }) => at >= life.settledAt) : life.events
    const chosen = events[random.below(events.length)]!
    // Before or after it.
    const cutAt = chosen.at - random.below(2)
    this.#restore(life, cutAt)
    return this.#live({ life, cutAt })
  }

  /** Puts everything back as the cut left it. */
  #restore(life: Life, cutAt: number): void {
    const { random } = this.options
    for (const name of readdirSync(this.#host))
      if (!name.endsWith('.img')) rmSync(join(this.#host, name), { recursive: true })
    cpSync(join(life.directory, 'host'), this.#host, { recursive: true, preserveTimestamps: true })
    const models = this.#files.map(() => new StorageModel())
    let modifiedAt = life.modifiedAt
    const wallAtZero = Date.now() - now() / 1e6
    for (const event of life.events) {
      if (event.at > cutAt) break
      models[event.call.file]!.apply(event)
      if (event.call.file === this.#devicePaths.length && ['write', 'zeroes'].includes(event.call.kind)) {
        modifiedAt = wallAtZero + event.at / 1e6
      }
    }
    for (const [index, path] of this.#files.entries()) {
      const content = readFileSync(join(life.directory, `file-${index}`))
      applySectors(content, models[index]!.cut(random, SURVIVALS[random.below(SURVIVALS.length)]!))
      writeImage(path, content, { sparse: path === this.#originPath })
    }
    utimesSync(this.#originPath, modifiedAt / 1000, modifiedAt / 1000)
  }

  /** The life of an engine: it starts (and is set up), the whole disk is read and judged, a load runs, it is killed. */
  async #live(before: Life['before'], setUp: (engine: EngineProcess) => Promise<void> = async () => {}): Promise<Life> {
    const number = this.#lives++
    const directory = join(this.options.directory, `life-${number}`)
    const recordDirectory = join(directory, 'record')
    mkdirSync(recordDirectory, { recursive: true })
    const beginning = this.#files.map((path) => readFileSync(path))
    for (const [index, content] of beginning.entries())
      writeImage(join(directory, `file-${index}`), content, { sparse: true })
    const modifiedAt = statSync(this.#originPath).mtimeMs

    const engine = await this.#start(recordDirectory)
    let history: DiskHistory
    let settledAt: number
    let warmReads: number
    try {
      await setUp(engine)
      const { socket } = await engine.client.get('disk.show', { name: DISK })
      const client = await connectSimpleNbd(socket)
      const content = await this.#readAll(client)
      settledAt = now()
      const found = this.#judge(before, content, beginning.at(-1)!)
      warmReads = (await engine.client.get('stats.show', { names: [DISK], window: 'all' })).disks[0]!.readHits
      const { badPages } = await engine.client.get('disk.show', { name: DISK })
      if (badPages > 0) throw new PowerCutFinding(`${badPages} pages are in the index, and not on the device`)
      history = new DiskHistory(found)
      const requests = before === null ? FIRST_REQUESTS : REQUESTS[this.options.random.below(REQUESTS.length)]!
      await runLoad(client, history, this.options.random, requests)
    } finally {
      await endAtOnce(engine)
    }
    const events = readRecord(recordDirectory)
    this.#checkRecord(events, beginning)
    cpSync(this.#host, join(directory, 'host'), {
      recursive: true,
      preserveTimestamps: true,
      filter: (path) => !/\.img$|\/run$|\/log$/.test(path),
    })
    rmSync(recordDirectory, { recursive: true })
    return { directory, events, history, settledAt, before, modifiedAt, warmReads }
  }

  #start(recordDirectory: string): Promise<EngineProcess> {
    const { main } = this.options
    return startEngineProcess({
      directory: this.#host,
      ...(main === undefined ? {} : { main }),
      environment: {
        NODE_OPTIONS: `--import ${pathToFileURL(this.#recorder).href}`,
        [RECORDER.directory]: recordDirectory,
        [RECORDER.files]: JSON.stringify(this.#files),
        [RECORDER.bootId]: this.#bootId(),
        [RECORDER.packageFile]: PACKAGE,
      },
    })
  }

  /** In the form of the kernel. */
  #bootId(): string {
    return this.options.random.id().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  }

  /** Every range once, in a random order that no read-ahead follows. */
  async #readAll(client: SimpleNbdClient): Promise<Buffer> {
    const { random } = this.options
    const content = Buffer.alloc(client.sizeBytes)
    const ranges: { at: number; length: number; order: number }[] = []
    const used = usedRuns(client.sizeBytes / SECTOR_BYTES)
    for (let at = 0; at < content.length;) {
      const isUsed = used.some(({ first, count }) => at >= first * SECTOR_BYTES && at < (first + count) * SECTOR_BYTES)
      const length = isUsed ? SMALL_READ_BYTES : LARGE_READ_BYTES
      ranges.push({ at, length, order: random.below(2 ** 30) })
      at += length
    }
    ranges.sort((left, right) => left.order - right.order)
    const read = async (): Promise<void> => {
      for (let range = ranges.pop(); range !== undefined; range = ranges.pop()) {
        ;(await client.read(range.at, range.length)).copy(content, range.at)
      }
    }
    await Promise.all([read(), read(), read(), read()])
    return content
  }

  /** The stamps of a disk that was read after a cut; throws where it cannot be so. `origin`: what the origin held when the engine began. */
  #judge(before: Life['before'], content: Buffer, origin: Buffer): Int32Array {
    const found = stampsOf(content)
    const originStamps = stampsOf(origin)
    const faults: string[] = []
    let cut = before
    // Within the time in which the life before began, the disk had not been seen yet: what held for that beginning holds still.
    while (cut !== null && cut.cutAt < cut.life.settledAt) cut = cut.life.before
    if (this.options.mode !== ('write-back' as Mode)) {
      for (const [sector, stamp] of found.entries()) {
        if (stamp !== originStamps[sector]) {
          faults.push(`sector ${sector} reads as write ${stamp}, the origin has ${originStamps[sector]}`)
          if (faults.length === MOST_FAULTS) break
        }
      }
      if (cut !== null) faults.push(...cut.life.history.faultsAfterPowerCut(found, cut.cutAt))
    } else if (cut !== null) {
      faults.push(...cut.life.history.faultsOfPrefix(found, cut.cutAt))
      for (const fault of cut.life.history.faultsOfEarlierPowerCut(originStamps, cut.cutAt))
        faults.push(`origin: ${fault}`)
    }
    if (faults.length > 0) throw new PowerCutFinding(faults.join('\n'))
    return found
  }

  /** The record is whole: replayed, it makes what the files hold. */
  #checkRecord(events: readonly RecordedEvent[], beginning: readonly Buffer[]): void {
    for (const [index, path] of this.#files.entries()) {
      const { sectors, unknown } = replay(events.filter(({ call }) => call.file === index))
      const [expected, actual] = [beginning[index]!, readFileSync(path)]
      applySectors(expected, sectors)
      for (const sector of unknown) {
        for (const content of [expected, actual]) content.fill(0, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
      }
      if (!expected.equals(actual)) throw new Error(`the record of ${path} is not whole`)
    }
  }

  /** Gives back the room of a life that is not cut any more. */
  forget(life: Life): void {
    rmSync(life.directory, { recursive: true })
  }
}

/** SIGKILL to the supervisor and to the engine. */
async function endAtOnce(engine: EngineProcess): Promise<void> {
  const pid = engine.status()?.engine.pid ?? null
  engine.supervisor.kill('SIGKILL')
  if (pid !== null) process.kill(pid, 'SIGKILL')
  await engine.remove()
}

import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Random } from '../../../src/base/random.js'
import type { Mode } from '../../../src/model/mode.js'
import type { DiskState } from '../../../src/protocol/control/documents.js'
import { startEngineProcess, type EngineProcess } from '../engine-process.js'
import { connectSimpleNbd, NbdReplyError, type SimpleNbdClient } from '../simple-nbd-client.js'
import { compileRecorder } from './compile-recorder.js'
import { attachRequest, cacheRequest, createFiles, diskFiles, type DiskFiles } from './disk-files.js'
import { DiskHistory } from './disk-history.js'
import { applySectors, stampsOf, writeImage } from './image-file.js'
import { faultsOf, type Cut } from './judge.js'
import { runLoad } from './load.js'
import { readAgain, readDisk } from './read-disk.js'
import { now, readRecord, type RecordedEvent } from './read-record.js'
import { RECORDER } from './record-format.js'
import { randomSurvival, replay, StorageModel } from './storage-model.js'

const WAIT = { waitMilliseconds: 30_000 }
const PACKAGE = join(import.meta.dirname, '..', '..', '..', 'package.json')
const FIRST_REQUESTS = 800
/** Requests of the load of a later life: where there are few, most of its moments are those of recovery. */
const REQUESTS = [60, 300, 800]

/** In a hasty life regions become quiet and dirty data old within a tenth of a second. */
const HASTES = [1, 300]
const CONNECT_ATTEMPTS = 5
/** Where a disk of a power cut may be: nothing has failed. */
const SERVED: readonly DiskState[] = ['serving', 'recovering', 'draining']

export interface MachineOptions {
  /** Empty; the caller removes it. */
  readonly directory: string
  /** One disk is made for each, with a cache of its own. */
  readonly modes: readonly Mode[]
  readonly random: Random
  /** Entry of another build's supervisor. */
  readonly main?: string
}

/** What one engine was to one disk. */
interface DiskLife {
  /** What the client was told, from `settledAt` on. */
  readonly history: DiskHistory
  /** When all of the disk had been read and was found right. */
  readonly settledAt: number
  /** Of a life that is cut before it settled: what it began with, and what may still be found. Null for the first life. */
  readonly before: Cut | null
  /** Time of the origin's file in the beginning, in milliseconds since 1970. */
  readonly modifiedAt: number
  /** Reads of the whole disk that the cache answered. */
  readonly warmReads: number
}

/** One engine, from its start to its end. */
export interface Life {
  readonly directory: string
  /** Of all files, in order of time. */
  readonly events: readonly RecordedEvent[]
  readonly disks: readonly DiskLife[]
}

/** A promise was broken. */
export class PowerCutFinding extends Error {}

/**
 * A host with cached disks, whose power can be cut at any moment of an engine's life, again and again: the files are put back as that moment may have left
 * them, and the next engine runs on them, in a new boot. Caches share nothing, so each is cut at a moment of its own.
 */
export class Machine {
  readonly #host: string
  readonly #recorder: string
  readonly #disks: readonly DiskFiles[]
  readonly #paths: readonly string[]
  #lives = 0

  constructor(readonly options: MachineOptions) {
    const { directory, modes, random } = options
    this.#host = join(directory, 'host')
    this.#recorder = compileRecorder(join(directory, 'recorder'))
    mkdirSync(this.#host)
    this.#disks = modes.map((mode, index) => diskFiles(this.#host, `disk-${index}`, mode, 1 + random.below(2)))
    this.#paths = this.#disks.flatMap(({ paths }) => paths)
  }

  /** The life in which the caches are created, filled and written. */
  begin(): Promise<Life> {
    for (const disk of this.#disks) createFiles(disk)
    return this.#live(null, async ({ client }) => {
      for (const disk of this.#disks) {
        await client.post('cache.create', cacheRequest(disk), WAIT)
        await client.post('cache.attach', attachRequest(disk), WAIT)
      }
    })
  }

  /** Cuts the power at random moments of a life, and lives on with what may be left. Rejects with {@link PowerCutFinding} where a promise was broken. */
  cut(life: Life): Promise<Life> {
    for (const name of readdirSync(this.#host)) {
      if (!name.endsWith('.img')) rmSync(join(this.#host, name), { recursive: true })
    }
    cpSync(join(life.directory, 'host'), this.#host, { recursive: true, preserveTimestamps: true })
    return this.#live(this.#disks.map((disk, index) => this.#cutDisk(disk, life, life.disks[index]!)))
  }

  /** Puts the files of a disk back as a random moment left them. */
  #cutDisk(disk: DiskFiles, life: Life, { history, settledAt, before, modifiedAt }: DiskLife): Cut {
    const { random } = this.options
    const events = life.events.filter(({ call }) => disk.paths.includes(this.#paths[call.file]!))
    // Who creates a cache and attaches a disk hears only at the end that they are there.
    const moments = before === null ? events.filter(({ at }) => at >= settledAt) : events
    const barriers = history.barriers()
    // Right before an event or right after it; or when a client has just been told that its data is safe.
    const cutAt =
      barriers.length > 0 && random.below(3) === 0
        ? barriers[random.below(barriers.length)]!
        : moments[random.below(moments.length)]!.at - random.below(2)
    const wallAtZero = Date.now() - now() / 1e6
    let changedAt = modifiedAt
    for (const path of disk.paths) {
      const model = new StorageModel()
      for (const event of events) {
        if (event.at > cutAt || this.#paths[event.call.file] !== path) continue
        model.apply(event)
        const isChange = event.call.kind === 'write' || event.call.kind === 'zeroes'
        if (path === disk.originPath && isChange) changedAt = wallAtZero + event.at / 1e6
      }
      const content = readFileSync(join(life.directory, basename(path)))
      applySectors(content, model.cut(random, randomSurvival(random)))
      writeImage(path, content, { sparse: path === disk.originPath })
    }
    // Not before the time that the engine remembers: what is set here is less fine than what the kernel sets.
    const seconds = Math.ceil(changedAt) / 1000
    utimesSync(disk.originPath, seconds, seconds)
    // Until the disk had been read, what held for its beginning holds still.
    return before !== null && cutAt < settledAt ? before : { history, cutAt }
  }

  /** A life: an engine starts (and is set up), each disk is read whole and judged, loads run, the engine is killed. */
  async #live(cuts: readonly Cut[] | null, setUp?: (engine: EngineProcess) => Promise<void>): Promise<Life> {
    const directory = join(this.options.directory, `life-${this.#lives++}`)
    const recordDirectory = join(directory, 'record')
    mkdirSync(recordDirectory, { recursive: true })
    const beginning = new Map(this.#paths.map((path) => [path, readFileSync(path)]))
    for (const [path, content] of beginning) writeImage(join(directory, basename(path)), content, { sparse: true })

    const engine = await this.#start(recordDirectory)
    let disks: DiskLife[]
    try {
      await setUp?.(engine)
      disks = await Promise.all(
        this.#disks.map((disk, index) =>
          this.#use(engine, disk, cuts?.[index] ?? null, beginning.get(disk.originPath)!).catch((error: unknown) => {
            if (!(error instanceof NbdReplyError)) throw error
            throw new PowerCutFinding(`${disk.name}, ${disk.mode}: ${error.message}`)
          }),
        ),
      )
    } finally {
      await endAtOnce(engine)
    }
    const events = readRecord(recordDirectory)
    rmSync(recordDirectory, { recursive: true })
    for (const [file, path] of this.#paths.entries()) {
      checkRecord(
        path,
        events.filter(({ call }) => call.file === file),
        beginning.get(path)!,
      )
    }
    cpSync(this.#host, join(directory, 'host'), {
      recursive: true,
      preserveTimestamps: true,
      filter: (path) => !/\.img$|\/run$|\/log$/.test(path),
    })
    return { directory, events, disks }
  }

  async #use(engine: EngineProcess, disk: DiskFiles, before: Cut | null, origin: Buffer): Promise<DiskLife> {
    const { random } = this.options
    const modifiedAt = statSync(disk.originPath).mtimeMs
    const { socket, state, reason } = await engine.client.get('disk.show', { name: disk.name })
    if (!SERVED.includes(state)) throw new PowerCutFinding(`${disk.name}, ${disk.mode}: is ${state}: ${reason}`)
    const client = await connect(socket)
    const content = await readDisk(client, random)
    const settledAt = now()
    const { disks } = await engine.client.get('stats.show', { names: [disk.name], window: 'all' })
    const found = stampsOf(content)
    const faults = before === null ? [] : faultsOf(disk.mode, { disk: found, origin: stampsOf(origin) }, before)
    const { badPages } = await engine.client.get('disk.show', { name: disk.name })
    if (badPages > 0) faults.push(`${badPages} pages are in the index, and not on the device`)
    if (faults.length > 0) throw new PowerCutFinding([`${disk.name}, ${disk.mode}:`, ...faults].join('\n'))
    await readAgain(client, content, random)
    const history = new DiskHistory(found)
    const requests = before === null ? FIRST_REQUESTS : REQUESTS[random.below(REQUESTS.length)]!
    await runLoad(client, history, random, requests)
    return { history, settledAt, before, modifiedAt, warmReads: disks[0]!.readHits }
  }

  #start(recordDirectory: string): Promise<EngineProcess> {
    const { main, random } = this.options
    return startEngineProcess({
      directory: this.#host,
      ...(main === undefined ? {} : { main }),
      environment: {
        NODE_OPTIONS: `--import ${pathToFileURL(this.#recorder).href}`,
        [RECORDER.directory]: recordDirectory,
        [RECORDER.files]: JSON.stringify(this.#paths),
        // Each life is another boot; in the form of the kernel.
        [RECORDER.bootId]: random.id().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
        [RECORDER.haste]: String(HASTES[random.below(HASTES.length)]!),
        [RECORDER.packageFile]: PACKAGE,
      },
    })
  }

  /** Gives back the room of a life that is not cut any more. */
  forget(life: Life): void {
    rmSync(life.directory, { recursive: true })
  }
}

/** The record is whole: replayed on what a file held, it makes what the file holds now. */
function checkRecord(path: string, events: readonly RecordedEvent[], beginning: Buffer): void {
  const { sectors, unknown } = replay(events)
  const [expected, actual] = [beginning, readFileSync(path)]
  applySectors(expected, sectors)
  const unproven = new Map([...unknown].map((sector) => [sector, null]))
  for (const content of [expected, actual]) applySectors(content, unproven)
  if (!expected.equals(actual)) throw new Error(`the record of ${path} is not whole`)
}

/** SIGKILL to the supervisor and to the engine. */
async function endAtOnce(engine: EngineProcess): Promise<void> {
  const pid = engine.status()?.engine.pid ?? null
  engine.supervisor.kill('SIGKILL')
  if (pid !== null) process.kill(pid, 'SIGKILL')
  await engine.remove()
}

/** A hasty engine has little patience with who connects. */
async function connect(socket: string): Promise<SimpleNbdClient> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await connectSimpleNbd(socket)
    } catch (error) {
      if (attempt === CONNECT_ATTEMPTS) throw error
    }
  }
}

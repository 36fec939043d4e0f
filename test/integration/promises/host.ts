/**
 * test/integration/promises/: one file for each promise of guarantees.md that needs real processes to be proven, and is not proven by
 * another test already (kill.test.ts: acknowledged writes and warmth after a kill; guest.test.ts, foreign-clients.test.ts: clients that
 * reconnect; the simulation: power cuts).
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type {
  AttachRequest,
  CacheDocument,
  DiskDocument,
  DiskStatsDocument,
  EventDocument,
  StatusDocument,
} from '../../../src/protocol/control/documents.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import { startEngineProcess, type EngineProcess, type EngineProcessOptions } from '../../support/engine-process.js'
import { Processes, until } from '../../support/processes.js'
import { connectSimpleNbd, type SimpleNbdClient } from '../../support/simple-nbd-client.js'

export const PAGE = 4096
export const MIB = 1024 * 1024
/** Nothing dirty goes to the origin by itself while a test looks. */
export const KEPT_DIRTY = { ...DEFAULT_WRITE_BACK, dirtyAgeSeconds: 3600 }
const WAIT = { waitMilliseconds: 30_000 }

/** An engine with a supervisor of its own, and words for what tests do with it. */
export interface Host extends EngineProcess {
  /** A cache `fast`; without devices on a file `ssd.img` of 128 MiB. */
  createCache(...devices: { path: string; sizeBytes: number | null }[]): Promise<void>
  attach(name: string, origin: string, changes?: Partial<AttachRequest>): Promise<DiskDocument>
  detach(name: string, flags?: { force?: boolean; discardDirty?: boolean }): Promise<void>
  /** Ends when the origin has all that was written. */
  flush(name: string): Promise<void>
  /** What is seen of it now. */
  disk(name: string): Promise<DiskDocument>
  cache(): Promise<CacheDocument>
  stats(name: string): Promise<DiskStatsDocument>
  status(): ReturnType<EngineProcess['status']>
  attention(): Promise<StatusDocument['attention']>
  events(): Promise<EventDocument[]>
  connect(name: string): Promise<SimpleNbdClient>
  /** The file of the cache. */
  readonly deviceFile: string
}

/** A directory that goes away with the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Programs that end with the test. */
export function testProcesses(): Processes {
  const processes = new Processes()
  onTestFinished(() => processes.stopAll())
  return processes
}

export async function startHost(options: EngineProcessOptions = {}): Promise<Host> {
  const engine = await startEngineProcess(options)
  onTestFinished(() => engine.remove())
  const { client } = engine
  const deviceFile = join(engine.directory, 'ssd.img')
  const host: Host = {
    ...engine,
    deviceFile,
    async createCache(...devices) {
      const request = {
        name: 'fast',
        devices: devices.length > 0 ? devices : [{ path: deviceFile, sizeBytes: 128 * MIB }],
        blockSizeBytes: PAGE,
        chunkSizeBytes: MIB,
        force: false,
        dryRun: false,
      }
      await client.post('cache.create', request, WAIT)
    },
    async attach(name, origin, changes = {}) {
      const request: AttachRequest = {
        cache: 'fast',
        origin,
        name,
        mode: 'write-through',
        replacement: 's3-fifo',
        minBytes: 0,
        maxBytes: null,
        shares: 100,
        writeBack: DEFAULT_WRITE_BACK,
        readOnly: false,
        exclusive: false,
        dryRun: false,
        ...changes,
      }
      return (await client.post('cache.attach', request, WAIT)).result!.disk!
    },
    async detach(name, { force = false, discardDirty = false } = {}) {
      const request = { names: [name], all: false, exclude: [], dryRun: false, force, discardDirty }
      const { result } = await client.post('cache.detach', request, WAIT)
      const error = result!.results[0]!.error
      if (error !== null) throw Object.assign(new Error(error.message), error)
    },
    async flush(name) {
      const request = { names: [name], all: false, exclude: [], dryRun: false }
      const { result } = await client.post('disk.flush', request, { waitMilliseconds: 60_000 })
      const error = result!.results[0]!.error
      if (error !== null) throw Object.assign(new Error(error.message), error)
    },
    disk: (name) => client.get('disk.show', { name }),
    cache: () => client.get('cache.show', { name: 'fast' }),
    async stats(name) {
      return (await client.get('stats.show', { names: [name], window: 'all' })).disks[0]!
    },
    attention: async () => (await client.get('status.show', {})).attention,
    events: async () => (await client.get('event.list', { sinceAt: null, vm: null, disk: null })).events,
    async connect(name) {
      return connectSimpleNbd((await host.disk(name)).socket)
    },
  }
  return host
}

/** A sparse image. */
export async function makeImage(path: string, bytes: number): Promise<string> {
  await writeFile(path, '')
  await truncate(path, bytes)
  return path
}

/** A page that says where it belongs and how often it was written. */
export function pageOf(page: number, version: number): Buffer {
  const bytes = Buffer.alloc(PAGE)
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE / 4)
  for (let word = 0; word < words.length; word++) words[word] = Math.imul(page + 1, 0x9e3779b1) ^ (version << 16) ^ word
  return bytes
}

/** `count` pages in a row, one write; returns them. */
export function pagesOf(first: number, count: number, version: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => pageOf(first + index, version)))
}

/** Reads page by page, as a guest does that is no sequential reader: in an order that leaves nothing to read ahead. */
export async function readPages(client: SimpleNbdClient, count: number): Promise<Buffer[]> {
  const pages: Buffer[] = Array.from({ length: count })
  const stride = count % 2 === 0 ? count / 2 + 1 : 2
  for (let index = 0, page = 0; index < count; index++, page = (page + stride) % count) {
    pages[page] = await client.read(page * PAGE, PAGE)
  }
  return pages.map((page) => page ?? Buffer.alloc(0))
}

/** Writes all pages, eight at a time, from the last to the first: a long stream would go past the cache. */
export async function writePages(client: SimpleNbdClient, count: number, version: number): Promise<void> {
  for (let first = count - 8; first >= 0; first -= 8) await client.write(first * PAGE, pagesOf(first, 8, version))
  await client.flush()
}

/** Where in a file each of the pages is found, by its first 64 bytes. */
export function findPages(path: string, pages: readonly Buffer[]): number[] {
  const wanted = new Set(pages.map((page) => page.toString('latin1', 0, 64)))
  const places: number[] = []
  const piece = Buffer.alloc(MIB)
  const descriptor = openSync(path, 'r')
  try {
    for (let from = 0, length = 0; (length = readSync(descriptor, piece, 0, MIB, from)) > 0; from += length) {
      for (let at = 0; at < length; at += 512) {
        if (wanted.has(piece.toString('latin1', at, Math.min(at + 64, length)))) places.push(from + at)
      }
    }
  } finally {
    closeSync(descriptor)
  }
  return places
}

/** Changes a file behind the back of whoever uses it. */
export function overwrite(path: string, at: number, bytes: Buffer): void {
  const descriptor = openSync(path, 'r+')
  try {
    writeSync(descriptor, bytes, 0, bytes.length, at)
  } finally {
    closeSync(descriptor)
  }
}

/** An NBD server for a file or a script; its socket is there when this ends. */
export async function startNbdkit(
  processes: Processes,
  socket: string,
  ...args: string[]
): Promise<{ uri: string; process: ReturnType<Processes['start']> }> {
  await rm(socket, { force: true })
  const process = processes.start('nbdkit', ['-f', '-U', socket, ...args])
  await until('nbdkit', () => listens(socket))
  return { uri: `nbd+unix:///?socket=${socket}`, process }
}

export function listens(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket)
    probe.once('error', () => resolve(false))
    probe.once('connect', () => resolve(true)).once('connect', () => probe.destroy())
  })
}

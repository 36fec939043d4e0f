/** Checkpoints in files: what comes back is what was kept, or an error; whatever dies in between, a file that has its name is whole. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { systemClock, type Clock } from '../../../../src/base/clock.js'
import type { EngineCheckpoint } from '../../../../src/engine/checkpoint.js'
import { createCheckpointFiles, type CheckpointFiles } from '../../../../src/engine/checkpoint/checkpoint-files.js'
import type { CheckpointKeeper } from '../../../../src/engine/checkpoint/checkpoint-keeper.js'
import {
  systemCheckpointStorage,
  type CheckpointStorage,
} from '../../../../src/engine/checkpoint/checkpoint-storage.js'
import { fromPieces, fromSocket } from '../../../../src/engine/checkpoint/fill.js'
import { manualClock } from '../../../support/manual-clock.js'
import { stamped } from '../object/test-objects.js'
import { SimulatedStorage } from './simulated-storage.js'
import { TestCheckpoints, VM } from './test-checkpoints.js'

const ID = 'ab'.repeat(16)
const ATTRIBUTES = '{"qemu":"7.2"}'
const MIB = 2 ** 20
const CREATED = Date.parse('2026-11-16T02:13:00.000Z')
const WATCH = { progress: () => undefined, signal: new AbortController().signal }

async function* pieces(stream: Buffer): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < stream.length; at += 700_001) yield stream.subarray(at, at + 700_001)
}

function keep(keeper: CheckpointKeeper, stream: Buffer, signal = WATCH.signal, id = ID): Promise<EngineCheckpoint> {
  const source = { id, vm: VM, name: 'web01', attributes: ATTRIBUTES, bytes: stream.length, createdAt: CREATED }
  return keeper.keep({ ...source, fill: fromPieces(pieces(stream), stream.length) }, { ...WATCH, signal })
}

function read(keeper: CheckpointKeeper): Promise<Buffer> {
  return keeper.lend(ID, WATCH, async (_, borrowed) => {
    const parts: Buffer[] = []
    for await (const piece of borrowed) parts.push(Buffer.from(piece))
    return Buffer.concat(parts)
  })
}

/** Moves a checkpoint as the engine does. */
function copy(from: CheckpointKeeper, to: CheckpointKeeper): Promise<EngineCheckpoint> {
  return from.lend(ID, WATCH, (checkpoint, borrowed) => {
    const createdAt = Date.parse(checkpoint.createdAt)
    return to.keep({ ...checkpoint, createdAt, fill: fromPieces(borrowed, checkpoint.bytes) }, WATCH)
  })
}

describe('a checkpoint in a file', () => {
  let directory: string
  let files: CheckpointFiles
  let keeper: CheckpointKeeper
  const path = (): string => join(directory, `${ID}.checkpoint`)

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vmcache-files-'))
    use(systemCheckpointStorage)
  })
  afterEach(async () => {
    await files.close()
    rmSync(directory, { recursive: true, force: true })
  })

  function use(storage: CheckpointStorage, clock: Clock = systemClock): void {
    files = createCheckpointFiles({ storage, clock })
    keeper = files.at(directory)
  }

  test.each([0, 1, 4096, 3 * MIB + 5, 16 * MIB - 8192, 16 * MIB - 8191, 40 * MIB + 12_345])(
    'of %i bytes comes back, also to another engine',
    async (length) => {
      const stream = stamped(length, 7)
      const kept = await keep(keeper, stream)
      const size = statSync(path()).size
      expect(kept).toEqual({
        ...{ id: ID, vm: VM, name: 'web01', bytes: length, storedBytes: size },
        ...{ createdAt: '2026-11-16T02:13:00.000Z', attributes: ATTRIBUTES, damage: null },
      })
      expect(readdirSync(directory)).toEqual([`${ID}.checkpoint`])
      expect(statSync(path()).mode & 0o777).toBe(0o600)
      for (let engine = 0; engine < 2; engine++) {
        expect(await keeper.checkpoints()).toEqual([{ ...kept, attributes: '' }])
        expect(await keeper.verifyCheckpoint(ID, WATCH)).toEqual(kept)
        expect((await read(keeper)).equals(stream)).toBe(true)
        use(systemCheckpointStorage)
      }
      await keeper.deleteCheckpoint(ID)
      expect(readdirSync(directory)).toEqual([])
      await expect(keeper.deleteCheckpoint(ID)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    },
  )

  test('comes and goes through sockets, as a hypervisor sends and takes it', async () => {
    const stream = stamped(20 * MIB, 3)
    const socket = join(directory, 'memory')
    const send = (): void => void connect(socket).end(stream)
    const source = { id: ID, vm: VM, name: 'web01', attributes: '', bytes: null, createdAt: CREATED }
    await keeper.keep({ ...source, fill: fromSocket(socket, send) }, WATCH)
    const parts: Buffer[] = []
    let closed: Promise<unknown> | undefined
    const ready = (): void => {
      const connection = connect(socket)
      connection.on('data', (part) => parts.push(part))
      closed = once(connection, 'close')
    }
    await keeper.readCheckpoint(ID, socket, { ...WATCH, ready })
    await closed
    expect(Buffer.concat(parts).equals(stream)).toBe(true)
  })

  test('moves out of a cache and back: the same bytes, attributes and time; its chunks are free', async () => {
    const cache = await TestCheckpoints.create([40])
    onTestFinished(() => cache.end())
    const stream = stamped(25 * MIB + 77, 5)
    const before = await cache.write(cache.source(ID, { attributes: ATTRIBUTES }), stream)
    const { storedBytes, ...same } = await copy(cache.checkpoints, keeper)
    expect({ ...same, storedBytes: before.storedBytes }).toEqual(before)
    expect(storedBytes).toBe(statSync(path()).size)
    await cache.checkpoints.deleteCheckpoint(ID)
    expect(cache.figures).toMatchObject({ free: 40, checkpoint: 0 })
    expect(await copy(keeper, cache.checkpoints)).toEqual(before)
    expect((await cache.read(ID)).equals(stream)).toBe(true)
  })

  test('does not go back into a cache that has no room: NO_SPACE, and the file stays', async () => {
    const cache = await TestCheckpoints.create([4])
    onTestFinished(() => cache.end())
    await keep(keeper, stamped(8 * MIB, 1))
    await expect(copy(keeper, cache.checkpoints)).rejects.toMatchObject({ code: 'NO_SPACE', exit: 5 })
    expect(cache.figures).toEqual({ free: 4, disk: 0, checkpoint: 0, reserved: 0 })
    expect(existsSync(path())).toBe(true)
  })

  test('with a flipped bit, wherever it is, is CORRUPT, and nothing behind it is given out', async () => {
    const stream = stamped(20 * MIB, 1)
    await keep(keeper, stream)
    const { size } = statSync(path())
    // Header, attributes, first and last bytes of the stream, header of the second chunk; the rest of each chunk's header is in its checksum.
    for (const at of [0, 17, 520, 4096, 8192, 15 * MIB, 16 * MIB + 600, size - 4096]) {
      const flip = async (): Promise<void> => {
        const file = await open(path(), 'r+')
        const byte = Buffer.alloc(1)
        await file.read(byte, 0, 1, at)
        byte[0]! ^= 4
        await file.write(byte, 0, 1, at)
        await file.close()
      }
      await flip()
      await expect(keeper.verifyCheckpoint(ID, WATCH), `byte ${at}`).rejects.toMatchObject({ code: 'CORRUPT' })
      const socket = join(directory, 'memory')
      const got: Buffer[] = []
      const ready = (): void =>
        void connect(socket)
          .on('error', () => undefined)
          .on('data', (part) => got.push(part))
      await expect(keeper.readCheckpoint(ID, socket, { ...WATCH, ready })).rejects.toMatchObject({ code: 'CORRUPT' })
      const given = Buffer.concat(got)
      expect(given.equals(stream.subarray(0, given.length))).toBe(true)
      await flip()
    }
    expect(await keeper.verifyCheckpoint(ID, WATCH)).toMatchObject({ damage: null })
  })

  test('that was cut is CORRUPT; one whose header is gone is shown with its damage', async () => {
    await keep(keeper, stamped(3 * MIB, 1))
    truncateSync(path(), 2 * MIB)
    await expect(keeper.verifyCheckpoint(ID, WATCH)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining(path()),
    })
    truncateSync(path(), 0)
    use(systemCheckpointStorage)
    expect(await keeper.checkpoints()).toMatchObject([{ id: ID, damage: expect.stringContaining(path()) }])
  })

  test('of another id, and what is not one, is not taken for it', async () => {
    await keep(keeper, stamped(MIB, 1), WATCH.signal, 'cd'.repeat(16))
    await systemCheckpointStorage.rename(join(directory, `${'cd'.repeat(16)}.checkpoint`), path())
    await expect(keeper.verifyCheckpoint(ID, WATCH)).rejects.toMatchObject({ code: 'CORRUPT' })
    await systemCheckpointStorage.rename(path(), join(directory, 'something.else'))
    use(systemCheckpointStorage)
    expect(await keeper.checkpoints()).toEqual([])
  })

  test('that is there is not written over, and one that is cancelled or whose source fails leaves nothing', async () => {
    const abort = new AbortController()
    const kept = keep(keeper, stamped(30 * MIB, 1), abort.signal)
    setTimeout(() => abort.abort(), 5)
    await expect(kept).rejects.toMatchObject({ code: 'INTERRUPTED' })
    const fill = (): Promise<never> => Promise.reject(new Error('the source is away'))
    const source = { id: ID, vm: VM, name: 'web01', attributes: '', bytes: null, createdAt: CREATED, fill }
    await expect(keeper.keep(source, WATCH)).rejects.toThrow('the source is away')
    expect(readdirSync(directory)).toEqual([])
    await keep(keeper, stamped(10, 1))
    await expect(keep(keeper, stamped(20, 1))).rejects.toMatchObject({ code: 'IN_USE' })
    expect((await read(keeper)).length).toBe(10)
  })

  test.each([
    ['ENOSPC', 'NO_SPACE'],
    ['EACCES', 'DENIED'],
    ['EIO', 'FAILED'],
  ])('whose storage fails a write with %s: %s with its path, and nothing is left', async (code, expected) => {
    const failing: CheckpointStorage = {
      ...systemCheckpointStorage,
      create: async (name) => ({
        ...(await systemCheckpointStorage.create(name)),
        write: () => Promise.reject(Object.assign(new Error(code), { code })),
      }),
    }
    use(failing)
    await expect(keep(keeper, stamped(30 * MIB, 1))).rejects.toMatchObject({
      code: expected,
      message: expect.stringContaining(path()),
    })
    expect(readdirSync(directory)).toEqual([])
  })

  test('that is not read back as it was written is not kept', async () => {
    const lying: CheckpointStorage = {
      ...systemCheckpointStorage,
      create: async (name) => {
        const file = await systemCheckpointStorage.create(name)
        return {
          ...file,
          async read(offset, target, at, length) {
            await file.read(offset, target, at, length)
            if (length > 4096) target[at + 5000]! ^= 1
          },
        }
      },
    }
    use(lying)
    await expect(keep(keeper, stamped(3 * MIB, 1))).rejects.toMatchObject({ code: 'CORRUPT' })
    expect(readdirSync(directory)).toEqual([])
  })

  test('in a directory that is away is not gone; in one that hangs nobody waits for it', async () => {
    const away = files.at(join(directory, 'away'))
    for (const call of [away.checkpoints, () => away.deleteCheckpoint(ID), () => keep(away, stamped(10, 1))]) {
      await expect(call()).rejects.toMatchObject({
        code: 'FAILED',
        message: expect.stringContaining('away is not there'),
      })
    }
    await expect(files.make(join(directory, 'no', 'such'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await files.make(join(directory, 'away'))
    await files.make(join(directory, 'away'))
    expect(await away.checkpoints()).toEqual([])
    const clock = manualClock()
    use({ ...systemCheckpointStorage, list: () => new Promise(() => {}) }, clock)
    const calls = [keeper.checkpoints(), keeper.deleteCheckpoint(ID)].map((call) =>
      call.catch((error: unknown) => error),
    )
    await clock.advance(10_000)
    for (const call of calls) {
      expect(await call).toMatchObject({ code: 'FAILED', message: expect.stringContaining('does not answer') })
    }
  })

  test.each(['write', 'commit', 'read'] as const)(
    'whose storage hangs at a %s: given up after a minute',
    async (call) => {
      const clock = manualClock()
      const ended: (() => void)[] = []
      let isHung = false
      const hanging: CheckpointStorage = {
        ...systemCheckpointStorage,
        create: async (name) => {
          const file = await systemCheckpointStorage.create(name)
          const hang = async (...args: never[]): Promise<void> => {
            isHung = true
            await new Promise<void>((resolve) => ended.push(resolve))
            await (file[call] as (...args: never[]) => Promise<void>)(...args)
          }
          return { ...file, [call]: hang }
        },
      }
      use(hanging, clock)
      const kept = keep(keeper, stamped(30 * MIB, 1)).catch((error: unknown) => error)
      await expect.poll(() => isHung).toBe(true)
      await clock.advance(60_000)
      await clock.advance(10_000)
      expect(await kept).toMatchObject({ code: 'FAILED', message: expect.stringContaining('does not answer for 60 s') })
      // What hangs is not to meet what comes after it.
      const still = { code: 'FAILED', message: expect.stringContaining('being changed still') }
      await expect(keep(keeper, stamped(10, 1))).rejects.toMatchObject(still)
      await expect(keeper.deleteCheckpoint(ID)).rejects.toMatchObject(still)
      expect(existsSync(path())).toBe(false)
      // It answers at last: nothing is left, and nothing gets its name.
      const release = setInterval(() => ended.splice(0).forEach((end) => end()), 5)
      await expect.poll(() => readdirSync(directory)).toEqual([])
      await expect.poll(() => keeper.deleteCheckpoint(ID).catch(({ code }: { code: string }) => code)).toBe('NOT_FOUND')
      clearInterval(release)
    },
  )

  test('whose storage hangs when it is erased is not kept anew before that has ended', async () => {
    await keep(keeper, stamped(10, 1))
    const clock = manualClock()
    const ended: (() => void)[] = []
    const hanging: CheckpointStorage = {
      ...systemCheckpointStorage,
      remove: async (name) => {
        await new Promise<void>((resolve) => ended.push(resolve))
        await systemCheckpointStorage.remove(name)
      },
    }
    use(hanging, clock)
    const erased = keeper.deleteCheckpoint(ID).catch((error: unknown) => error)
    await expect.poll(() => ended.length).toBe(1)
    await clock.advance(10_000)
    expect(await erased).toMatchObject({ code: 'FAILED', message: expect.stringContaining('does not answer') })
    await systemCheckpointStorage.remove(path())
    await expect(keep(keeper, stamped(20, 1))).rejects.toMatchObject({ code: 'FAILED' })
    const release = setInterval(() => ended.splice(0).forEach((end) => end()), 5)
    await expect
      .poll(() =>
        keep(keeper, stamped(20, 1)).then(
          ({ bytes }) => bytes,
          () => null,
        ),
      )
      .toBe(20)
    clearInterval(release)
    expect((await read(keeper)).length).toBe(20)
  })

  test('that hangs while it is read is given up as well, and at once where nobody waits any longer', async () => {
    await keep(keeper, stamped(3 * MIB, 1))
    const clock = manualClock()
    const ended: (() => void)[] = []
    const hanging: CheckpointStorage = {
      ...systemCheckpointStorage,
      open: async (name) => ({
        ...(await systemCheckpointStorage.open(name)),
        read: () => new Promise((_, reject) => ended.push(() => reject(new Error('too late')))),
      }),
    }
    use(hanging, clock)
    const abort = new AbortController()
    const cancelled = keeper.verifyCheckpoint(ID, { ...WATCH, signal: abort.signal }).catch((error: unknown) => error)
    const waiting = keeper.verifyCheckpoint(ID, WATCH).catch((error: unknown) => error)
    await new Promise((resolve) => setTimeout(resolve, 50))
    abort.abort()
    expect(await cancelled).toMatchObject({ code: 'INTERRUPTED' })
    await clock.advance(60_000)
    expect(await waiting).toMatchObject({ code: 'FAILED', message: expect.stringContaining(path()) })
    for (const end of ended) end()
  })

  test('holds the same bytes for ever', async () => {
    await keep(keeper, Buffer.from('memory'))
    const bytes = await readFile(path())
    expect(bytes.length).toBe(3 * 4096)
    expect(bytes.subarray(4, 8).toString()).toBe('vmCH')
    expect(bytes.subarray(4096, 4096 + ATTRIBUTES.length).toString()).toBe(ATTRIBUTES)
    expect(bytes.subarray(8192, 8198).toString()).toBe('memory')
  })
})

describe.each(['kill', 'power-cut'] as const)('a %s', (crash) => {
  const SEEDS = Array.from({ length: 80 }, (_, seed) => seed + 1)
  const STREAM = stamped(300_000, 9)
  const DIRECTORY = '/storage'

  function open(storage: SimulatedStorage): CheckpointKeeper {
    return createCheckpointFiles({ storage: storage.mount(), clock: storage.scheduler }).at(DIRECTORY)
  }

  async function finish<Result>(storage: SimulatedStorage, work: Promise<Result>): Promise<Result> {
    await storage.run(work)
    return work
  }

  /** Whether it is there, and then whether it is right. */
  async function expectWholeOrNothing(storage: SimulatedStorage, seed: number): Promise<boolean> {
    const keeper = open(storage)
    const [found] = await finish(storage, keeper.checkpoints())
    if (found === undefined) return false
    expect(found, `seed ${seed}`).toMatchObject({ id: ID, damage: null, bytes: STREAM.length })
    expect((await finish(storage, read(keeper))).equals(STREAM), `seed ${seed}`).toBe(true)
    return true
  }

  async function dieIn(storage: SimulatedStorage, work: Promise<unknown>, most: number): Promise<boolean> {
    work.catch(() => undefined)
    const ended = await storage.run(work, storage.random.below(most))
    await storage.crash(crash)
    return ended
  }

  test('while one is kept leaves all of it, or nothing that has its name; what is left is erased, and it is kept anew', async () => {
    let [whole, none] = [0, 0]
    for (const seed of SEEDS) {
      const storage = new SimulatedStorage(seed)
      const ended = await dieIn(storage, keep(open(storage), STREAM), 34)
      const isThere = await expectWholeOrNothing(storage, seed)
      if (ended) expect(isThere, `seed ${seed}: what was kept is there`).toBe(true)
      if (isThere) whole++
      else none++
      await finish(storage, open(storage).deleteCheckpoint(ID)).catch(() => undefined)
      await storage.crash('power-cut')
      expect([...storage.names.keys()], `seed ${seed}: nothing is left`).toEqual([])
      await finish(storage, keep(open(storage), STREAM))
      await storage.crash('power-cut')
      expect(await expectWholeOrNothing(storage, seed)).toBe(true)
    }
    // It did die at all kinds of moments.
    expect(Math.min(whole, none)).toBeGreaterThan(5)
  })

  test('while one is deleted leaves all of it, or nothing', async () => {
    let [whole, none] = [0, 0]
    for (const seed of SEEDS) {
      const storage = new SimulatedStorage(seed)
      await finish(storage, keep(open(storage), STREAM))
      const ended = await dieIn(storage, open(storage).deleteCheckpoint(ID), 6)
      const isThere = await expectWholeOrNothing(storage, seed)
      if (ended) expect(isThere, `seed ${seed}: what was deleted is gone`).toBe(false)
      if (isThere) whole++
      else none++
    }
    expect(Math.min(whole, none)).toBeGreaterThan(5)
  })
})

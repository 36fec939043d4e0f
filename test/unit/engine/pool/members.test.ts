/** The devices of a cache agree on who they are, whenever the machine stops while that changes. */
import { describe, expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import type { Device } from '../../../../src/engine/device/device.js'
import { membershipOf } from '../../../../src/engine/pool/members.js'
import { Pool, chunkOffset, chunksOf, formatDevices } from '../../../../src/engine/pool/pool.js'
import { eraseSuperblocks, readSuperblock } from '../../../../src/engine/pool/superblocks.js'
import { CHUNK_HEADER_BYTES, encodeChunkHeader } from '../../../../src/format/chunk-header.js'
import { SECTOR_BYTES } from '../../../../src/model/geometry.js'
import { manualClock } from '../../../support/manual-clock.js'
import { chunkHeader } from '../../format/samples.js'

const MIB = 2 ** 20
const clock = manualClock()
const LOG_ID = 'ab'.repeat(16)

/** Everything that was made durable, in order: writes of devices, and what the state database says. */
type Step =
  | { readonly kind: 'write'; readonly device: string; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'record'; readonly devices: readonly string[] }

/** Devices in memory whose every write is noted. A write is durable when it returns: nothing here relies on an order within a commit. */
class Machine {
  readonly images = new Map<string, Buffer>()
  recorded: readonly string[] = []
  steps: Step[] = []

  add(path: string, chunks: number): Device {
    this.images.set(path, Buffer.alloc((chunks + 1) * MIB))
    return this.device(path)
  }

  device(path: string): Device {
    const image = this.images.get(path)!
    const read: Device['read'] = async (offset, target, at, length) =>
      void image.copy(target as Buffer, at, offset, offset + length)
    return {
      path,
      sizeBytes: image.length,
      logicalBlockBytes: SECTOR_BYTES,
      tryRead: () => false,
      read,
      write: async (offset, bytes) => {
        this.steps.push({ kind: 'write', device: path, offset, bytes: Buffer.from(bytes) })
        image.set(bytes, offset)
      },
      commit: async () => undefined,
      close: async () => undefined,
    }
  }

  record(devices: readonly string[]): void {
    this.steps.push({ kind: 'record', devices })
    this.recorded = devices
  }

  copy(): Machine {
    const copy = new Machine()
    for (const [path, image] of this.images) copy.images.set(path, Buffer.from(image))
    copy.recorded = this.recorded
    return copy
  }

  /** What a machine has that stopped after so many steps; of the write under way its first sectors, or its last ones. */
  stopped(steps: readonly Step[], count: number, torn: 'nothing' | 'head' | 'tail'): Machine {
    const machine = this.copy()
    for (const step of steps.slice(0, count)) machine.#do(step, (bytes) => [0, bytes.length])
    const next = steps[count]
    if (next?.kind === 'write' && torn !== 'nothing') {
      const half = Math.floor(next.bytes.length / SECTOR_BYTES / 2) * SECTOR_BYTES
      machine.#do(next, (bytes) => (torn === 'head' ? [0, half] : [half, bytes.length]))
    }
    return machine
  }

  #do(step: Step, part: (bytes: Buffer) => [number, number]): void {
    if (step.kind === 'record') {
      this.recorded = step.devices
      return
    }
    const [from, to] = part(step.bytes)
    step.bytes.copy(this.images.get(step.device)!, step.offset + from, from, to)
  }

  /** As an engine that starts: with what the database says. */
  open(): Promise<Pool> {
    return Pool.open(
      this.recorded.map((path) => this.device(path)),
      { allowMissing: false },
    )
  }
}

/** A cache on devices a and b, with one chunk of a log on each that the new device or a removal must not touch. */
async function cacheOnTwo(): Promise<{ machine: Machine; pool: Pool }> {
  const machine = new Machine()
  const devices = [machine.add('a', 8), machine.add('b', 4)]
  const settings = { name: 'fast', blockBytes: 4096, chunkBytes: MIB, hostId: '0'.repeat(32) }
  await formatDevices(devices, settings, { random: new SeededRandom(1), clock })
  await writeChunk(devices[0]!, 3)
  machine.record(['a', 'b'])
  const pool = await machine.open()
  machine.steps = []
  return { machine, pool }
}

async function writeChunk(device: Device, index: number): Promise<void> {
  const superblock = (await readSuperblock(device))!
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeChunkHeader(bytes, 0, { ...chunkHeader, cacheId: superblock.cacheId, logId: LOG_ID })
  await device.write(chunkOffset(superblock, index), bytes)
}

const pathsOf = (pool: Pool): string[] => pool.members.map(({ device }) => device.path)

/** Stops at every write, whole and torn, and opens; then stops in that opening as well. */
async function everyCrash(
  before: Machine,
  steps: readonly Step[],
  check: (pool: Pool, machine: Machine) => void | Promise<void>,
): Promise<number> {
  let crashes = 0
  for (let count = 0; count <= steps.length; count++) {
    for (const torn of ['nothing', 'head', 'tail'] as const) {
      const machine = before.stopped(steps, count, torn)
      const start = machine.copy()
      await check(await machine.open(), machine)
      const { steps: opening } = machine
      for (let again = 0; again < opening.length; again++) {
        for (const tornAgain of ['nothing', 'head', 'tail'] as const) {
          const second = start.stopped(opening, again, tornAgain)
          await check(await second.open(), second)
          crashes++
        }
      }
      crashes++
    }
  }
  return crashes
}

describe('a device is added', () => {
  async function added(): Promise<{ before: Machine; machine: Machine; pool: Pool }> {
    const { machine, pool } = await cacheOnTwo()
    // It held another cache, and chunks that look like some of this one: it was a device of it once.
    const device = machine.add('c', 6)
    await formatDevices(
      [device],
      { name: 'old', blockBytes: 4096, chunkBytes: MIB, hostId: '0'.repeat(32) },
      { random: new SeededRandom(2), clock },
    )
    const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
    // As high as the session before gave them out.
    const generation = 2 ** 24 + 5
    encodeChunkHeader(bytes, 0, { ...chunkHeader, cacheId: pool.cacheId, logId: 'cd'.repeat(16), generation })
    await device.write(2 * MIB, bytes)
    machine.steps = []
    const before = machine.copy()
    const chunkCount = chunksOf(device.sizeBytes, MIB)
    const record = async (): Promise<void> => machine.record(['a', 'b', 'c'])
    await pool.add(device, { id: 'ee'.repeat(16), chunkCount }, { clock, record })
    return { before, machine, pool }
  }

  test('its room is there, also after the next opening', async () => {
    const { machine, pool } = await added()
    for (const each of [pool, await machine.open()]) {
      expect(pathsOf(each)).toEqual(['a', 'b', 'c'])
      expect(each).toMatchObject({ totalChunks: 18, usableChunks: 18, freeChunks: 17 })
    }
  })

  test('a generation of it is higher than any that it ever had, and than those of before', async () => {
    const { pool } = await added()
    const taken = Array.from({ length: 17 }, () => pool.take()!)
    const generations = (position: number): number[] =>
      taken.filter(({ deviceIndex }) => deviceIndex === position).map(({ generation }) => generation)
    expect(generations(2)).toHaveLength(6)
    expect(Math.min(...generations(2))).toBeGreaterThan(Math.max(...generations(0)))
    expect(Math.min(...generations(2))).toBeGreaterThan(2 ** 24 + 5)
  })

  test('whenever the machine stops, the cache opens, with or without it', async () => {
    const { before, machine } = await added()
    const seen = new Set<string>()
    const crashes = await everyCrash(before, machine.steps, (pool, stopped) => {
      seen.add(pathsOf(pool).join())
      // Recorded, it is there; not recorded, it is not missed.
      expect(pathsOf(pool)).toEqual(stopped.recorded)
      expect(pool.missing).toEqual([])
      expect([...pool.logs.keys()]).toEqual([LOG_ID])
    })
    expect(crashes).toBeGreaterThan(50)
    expect(seen).toEqual(new Set(['a,b', 'a,b,c']))
  })

  test('what a crash left behind can be added again', async () => {
    const { before, machine } = await added()
    const beforeRecord = machine.steps.findIndex(({ kind }) => kind === 'record')
    const stopped = before.stopped(machine.steps, beforeRecord, 'nothing')
    const pool = await stopped.open()
    const device = stopped.device('c')
    await pool.add(
      device,
      { id: 'ff'.repeat(16), chunkCount: 6 },
      { clock, record: async () => stopped.record(['a', 'b', 'c']) },
    )
    expect(pathsOf(await stopped.open())).toEqual(['a', 'b', 'c'])
  })

  test('where it cannot be written down, the cache stays as it was', async () => {
    const { machine, pool } = await cacheOnTwo()
    const device = machine.add('c', 6)
    const record = () => Promise.reject(new Error('the database is away'))
    await expect(pool.add(device, { id: 'ee'.repeat(16), chunkCount: 6 }, { clock, record })).rejects.toThrow('away')
    expect(pathsOf(pool)).toEqual(['a', 'b'])
    expect(pathsOf(await machine.open())).toEqual(['a', 'b'])
  })

  test('a device that fails meanwhile is one that failed; the others go on', async () => {
    const { machine } = await cacheOnTwo()
    const isFailing = { b: false }
    const broken: Device = {
      ...machine.device('b'),
      write: async (offset, bytes) => {
        if (isFailing.b) throw new Error('EIO')
        return machine.device('b').write(offset, bytes)
      },
    }
    const pool = await Pool.open([machine.device('a'), broken], { allowMissing: false })
    isFailing.b = true
    const device = machine.add('c', 6)
    await pool.add(
      device,
      { id: 'ee'.repeat(16), chunkCount: 6 },
      { clock, record: async () => machine.record(['a', 'b', 'c']) },
    )
    expect(pathsOf(pool)).toEqual(['a', 'b', 'c'])
    expect(pathsOf(await machine.open())).toEqual(['a', 'b', 'c'])
  })
})

describe('a device is removed', () => {
  async function removed(): Promise<{ before: Machine; machine: Machine; pool: Pool }> {
    const { machine, pool } = await cacheOnTwo()
    const before = machine.copy()
    pool.retire(1)
    await pool.remove(1)
    machine.record(['a'])
    await eraseSuperblocks(machine.device('b'))
    return { before, machine, pool }
  }

  test('it is not part of the cache any more, nor a device of anybody', async () => {
    const { machine, pool } = await removed()
    for (const each of [pool, await machine.open()]) {
      expect(pathsOf(each)).toEqual(['a'])
      expect(each).toMatchObject({ totalChunks: 8, usableChunks: 8, freeChunks: 7 })
    }
    expect(await readSuperblock(machine.device('b'))).toBeUndefined()
  })

  test('whenever the machine stops, the cache opens, with or without it', async () => {
    const { before, machine } = await removed()
    const seen = new Set<string>()
    await everyCrash(before, machine.steps, (pool) => {
      seen.add(pathsOf(pool).join())
      expect(pool.missing).toEqual([])
      expect([...pool.logs.keys()]).toEqual([LOG_ID])
    })
    expect(seen).toEqual(new Set(['a,b', 'a']))
  })

  test('no chunk of a device that is retired is handed out; readmitted it is as before', async () => {
    const { pool } = await cacheOnTwo()
    const held = pool.take(1)!
    expect(held.deviceIndex).toBe(1)
    pool.retire(1)
    expect(pool.freeChunks).toBe(7)
    const others = Array.from({ length: 7 }, () => pool.take(1)!)
    expect(new Set(others.map(({ deviceIndex }) => deviceIndex))).toEqual(new Set([0]))
    expect(pool.take(1)).toBeUndefined()
    expect(pool.heldOn(1)).toBe(1)
    pool.give(held)
    expect([pool.heldOn(1), pool.take()]).toEqual([0, undefined])
    pool.readmit(1)
    expect(pool.freeChunks).toBe(4)
    expect(pool.take()!.deviceIndex).toBe(1)
  })

  test('one that was missing and comes back is left out', async () => {
    const { machine } = await cacheOnTwo()
    const pool = await Pool.open([machine.device('a')], { allowMissing: true })
    expect(pool.missing).toHaveLength(1)
    await pool.removeMissing(pool.missing[0]!.id)
    expect(pool.missing).toEqual([])
    const again = await machine.open()
    expect(pathsOf(again)).toEqual(['a'])
    expect(again.leftOut.map(({ device }) => device.path)).toEqual(['b'])
  })
})

test('of equally new lists the longer one counts, of others the newer', async () => {
  const { pool } = await cacheOnTwo()
  const [a, b] = pool.members.map(({ superblock }) => ({ superblock }))
  const shorter = { ...a!.superblock, devices: a!.superblock.devices.slice(0, 1), deviceCount: 1 }
  expect(membershipOf([{ superblock: shorter }, b!]).list).toHaveLength(2)
  const newer = { ...shorter, openCount: shorter.openCount + 1 }
  expect(membershipOf([{ superblock: newer }, b!])).toMatchObject({ list: [{}], leftOut: [b], missing: [] })
})

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../../src/base/clock.js'
import { SeededRandom } from '../../../../src/base/random.js'
import type { Device } from '../../../../src/engine/device/device.js'
import { openDevice } from '../../../../src/engine/device/open-device.js'
import { Pool, chunkOffset, chunksOf, formatDevices } from '../../../../src/engine/pool/pool.js'
import { eraseSuperblocks, readSuperblock, writeSuperblock } from '../../../../src/engine/pool/superblocks.js'
import {
  CHUNK_HEADER_BYTES,
  CHUNK_KIND,
  encodeChunkHeader,
  freeChunkHeader,
  type ChunkHeader,
} from '../../../../src/format/chunk-header.js'
import { SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS, encodeSuperblock } from '../../../../src/format/superblock.js'
import { chunkHeader } from '../../format/samples.js'

const MIB = 2 ** 20
const LOG_ID = 'ab'.repeat(16)

let directory: string
let opened: Device[]

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-pool-'))
  opened = []
})
afterEach(async () => {
  for (const device of opened) await device.close()
  rmSync(directory, { recursive: true, force: true })
})

async function device(name: string, bytes: number): Promise<Device> {
  const path = join(directory, name)
  writeFileSync(path, Buffer.alloc(bytes))
  return again(path)
}

async function again(path: string): Promise<Device> {
  const device = await openDevice(path)
  opened.push(device)
  return device
}

function format(devices: Device[], seed = 1, name = 'fast'): ReturnType<typeof formatDevices> {
  return formatDevices(
    devices,
    { name, blockBytes: 4096, chunkBytes: MIB, hostId: '0'.repeat(32) },
    { random: new SeededRandom(seed), clock: systemClock },
  )
}

const open = (devices: Device[]): Promise<Pool> => Pool.open(devices, { allowMissing: false })

/** Writes a chunk header as a log does. */
async function writeHeader(target: Device, index: number, header: Partial<ChunkHeader>): Promise<void> {
  const superblock = (await readSuperblock(target))!
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES)
  encodeChunkHeader(bytes, 0, { ...chunkHeader, cacheId: superblock.cacheId, logId: LOG_ID, ...header })
  await target.write(chunkOffset(superblock, index), bytes)
}

describe('superblocks', () => {
  test('copies take turns: while one is written the other is whole', async () => {
    const only = await device('a', 10 * MIB)
    let { superblock } = (await format([only]))[0]!
    for (let openCount = 1; openCount <= 4; openCount++) {
      const next = await writeSuperblock(only, { ...superblock, openCount })
      expect(await readSuperblock(only)).toEqual(next)
      const torn = Buffer.alloc(SUPERBLOCK_BYTES)
      encodeSuperblock(next).copy(torn, 0, 0, 100)
      const offset = SUPERBLOCK_OFFSETS[next.writeCount % 2]!
      await only.write(offset, torn)
      expect(await readSuperblock(only)).toEqual(superblock)
      await only.write(offset, encodeSuperblock(next))
      superblock = next
    }
  })

  test('neither copy whole is CORRUPT, and names the command that looks closer', async () => {
    const only = await device('a', 10 * MIB)
    const { superblock } = (await format([only]))[0]!
    await writeSuperblock(only, superblock)
    for (const offset of SUPERBLOCK_OFFSETS) {
      const block = Buffer.alloc(SUPERBLOCK_BYTES)
      await only.read(offset, block, 0, block.length)
      block[100]! ^= 1
      await only.write(offset, block)
    }
    await expect(readSuperblock(only)).rejects.toMatchObject({
      code: 'CORRUPT',
      hint: expect.stringContaining('cache check'),
    })
  })

  test('a newer format is refused by name, whatever the other copy says', async () => {
    const only = await device('a', 10 * MIB)
    const { superblock } = (await format([only]))[0]!
    await writeSuperblock(only, superblock)
    const newer = encodeSuperblock(superblock)
    newer.writeUInt16LE(7, 8)
    const { checksumOf } = await import('../../../../src/base/checksum.js')
    newer.writeUInt32LE(checksumOf(newer, 4), 0)
    await only.write(SUPERBLOCK_OFFSETS[0], newer)
    await expect(readSuperblock(only)).rejects.toMatchObject({
      code: 'DEVICE_FOREIGN',
      message: expect.stringMatching(/format 7/),
    })
  })

  test('erased, it is no vmcache device any more', async () => {
    const only = await device('a', 10 * MIB)
    await format([only])
    await eraseSuperblocks(only)
    expect(await readSuperblock(only)).toBeUndefined()
  })

  test('a device that is formatted again is the new cache alone, though the old superblock had been written more often', async () => {
    const only = await device('a', 10 * MIB)
    let { superblock } = (await format([only], 1, 'old'))[0]!
    for (let count = 0; count < 7; count++) superblock = await writeSuperblock(only, superblock)
    await writeHeader(only, 3, {})
    await format([only], 2, 'new')
    const pool = await open([only])
    expect(pool.cacheName).toBe('new')
    expect(pool.logs.size).toBe(0)
    expect(pool.freeChunks).toBe(9)
  })
})

describe('a pool', () => {
  test('gives as many chunks as fit behind the superblocks', () => {
    expect(chunksOf(10 * MIB, MIB)).toBe(9)
    expect(chunksOf(10 * MIB - 1, MIB)).toBe(8)
    expect(chunksOf(MIB, MIB)).toBe(0)
    expect(chunksOf(0, MIB)).toBe(0)
  })

  test('counts each opening on every device before anything else', async () => {
    const devices = [await device('a', 10 * MIB), await device('b', 10 * MIB)]
    await format(devices)
    for (let round = 1; round <= 3; round++) {
      const pool = await open([...devices].reverse())
      expect(pool.devices.map(({ superblock }) => superblock.openCount)).toEqual([round, round])
      for (const each of devices) expect((await readSuperblock(each))!.openCount).toBe(round)
      // Generations of one opening lie above all of the one before.
      expect(pool.take()!.generation).toBe(round * 2 ** 24)
    }
  })

  test('an opening that was cut off between two devices is not counted twice', async () => {
    const devices = [await device('a', 10 * MIB), await device('b', 10 * MIB)]
    await format(devices)
    await writeSuperblock(devices[0]!, { ...(await readSuperblock(devices[0]!))!, openCount: 5 })
    const pool = await open(devices)
    expect(pool.devices.map(({ superblock }) => superblock.openCount)).toEqual([6, 6])
  })

  test('knows which chunks hold logs, which are free, and what was used of each', async () => {
    const only = await device('a', 10 * MIB)
    const { superblock } = (await format([only]))[0]!
    await writeHeader(only, 2, { sequence: 8, generation: 99 * 2 ** 24 })
    await writeHeader(only, 5, { sequence: 9, generation: 3 })
    const free = Buffer.alloc(CHUNK_HEADER_BYTES)
    encodeChunkHeader(free, 0, freeChunkHeader(superblock.cacheId, 77 * 2 ** 24, 0))
    await only.write(MIB + 7 * MIB, free)
    const pool = await open([only])
    expect([pool.totalChunks, pool.freeChunks]).toEqual([9, 7])
    const chunks = pool.logs.get(LOG_ID)!
    expect(chunks.map(({ index, generation, header }) => [index, generation, header.sequence]).sort()).toEqual([
      [2, 99 * 2 ** 24, 8],
      [5, 2 ** 24, 9],
    ])
    expect(pool.claim(LOG_ID)).toHaveLength(2)
    expect(pool.claim(LOG_ID)).toHaveLength(0)
    const taken = Array.from({ length: 7 }, () => pool.take()!)
    expect(taken.find(({ index }) => index === 7)!.generation).toBe(77 * 2 ** 24)
    expect(pool.take()).toBeUndefined()
    pool.give(taken[0]!)
    expect(pool.take()).toEqual(taken[0])
  })

  test('a chunk of another cache is free: its log never returns', async () => {
    const only = await device('a', 10 * MIB)
    await format([only])
    await writeHeader(only, 2, { cacheId: '12'.repeat(16) })
    const pool = await open([only])
    expect([pool.logs.size, pool.freeChunks]).toEqual([0, 9])
  })

  test('a chunk of a kind that this version does not write is left alone', async () => {
    const only = await device('a', 10 * MIB)
    await format([only])
    await writeHeader(only, 2, { kind: CHUNK_KIND.object + 1 })
    const pool = await open([only])
    expect([pool.logs.size, pool.freeChunks]).toEqual([0, 8])
    expect(Array.from({ length: 8 }, () => pool.take()!.index)).not.toContain(2)
  })

  test('a disk takes its chunks from one device while that has any', async () => {
    const devices = [await device('a', 4 * MIB), await device('b', 10 * MIB)]
    await format(devices)
    const pool = await open(devices)
    expect(Array.from({ length: 4 }, () => pool.take(0)!.deviceIndex)).toEqual([0, 0, 0, 1])
    // Without a wish: from the device with most room.
    expect(pool.take()!.deviceIndex).toBe(1)
    expect(pool.freeChunks).toBe(3 + 9 - 5)
  })

  test('what a tenant gives back is a log or free, as its headers say', async () => {
    const only = await device('a', 10 * MIB)
    const { superblock } = (await format([only]))[0]!
    await writeHeader(only, 1, {})
    await writeHeader(only, 2, { sequence: 43 })
    const pool = await open([only])
    const held = pool.claim(LOG_ID)
    const free = Buffer.alloc(CHUNK_HEADER_BYTES)
    encodeChunkHeader(free, 0, freeChunkHeader(superblock.cacheId, 2 ** 40, 0))
    await only.write(MIB + 1 * MIB, free)
    await pool.returnLog(held)
    expect(pool.logs.get(LOG_ID)!.map(({ index, header }) => [index, header.kind])).toEqual([[2, CHUNK_KIND.log]])
  })
})

describe('devices that do not belong together are refused', () => {
  test('no vmcache device', async () => {
    await expect(open([await device('a', 10 * MIB)])).rejects.toMatchObject({ code: 'DEVICE_FOREIGN' })
  })

  test('one of another cache', async () => {
    const [a, b] = [await device('a', 10 * MIB), await device('b', 10 * MIB)]
    await format([a], 1, 'one')
    await format([b], 2, 'two')
    await expect(open([a, b])).rejects.toMatchObject({
      code: 'DEVICE_FOREIGN',
      message: expect.stringMatching(/two.*one|one.*two/),
    })
  })

  test('one is missing', async () => {
    const [a, b] = [await device('a', 10 * MIB), await device('b', 10 * MIB)]
    const formatted = await format([a, b])
    await expect(open([a])).rejects.toMatchObject({
      code: 'DEVICE_MISSING',
      details: { missing: [formatted[1]!.superblock.deviceId] },
    })
  })

  test('one is named twice', async () => {
    const a = await device('a', 10 * MIB)
    await format([a])
    await expect(open([a, await again(a.path)])).rejects.toMatchObject({ name: 'VmcacheError' })
  })

  test('one is smaller than its superblock says', async () => {
    const a = await device('a', 10 * MIB)
    await format([a])
    truncateSync(a.path, 6 * MIB)
    await expect(open([await again(a.path)])).rejects.toMatchObject({
      code: 'CORRUPT',
      details: { sizeBytes: 6 * MIB, expectedBytes: 10 * MIB },
    })
  })
})

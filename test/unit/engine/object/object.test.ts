/** An object is written, read back, found again, damaged and deleted. */
import { describe, expect, test } from 'vitest'
import { CHUNK_HEADER_BYTES } from '../../../../src/format/chunk-header.js'
import { writeFlags } from '../../../../src/engine/object/seal-object.js'
import { chunksFor } from '../../../../src/engine/object/stored-object.js'
import { CHUNK_BYTES, DATA_BYTES, TestObjects, VM, stamped } from './test-objects.js'

const ID = 'ab'.repeat(16)
const ATTRIBUTES = JSON.stringify({ qemu: '7.2', disks: ['/images/web01.raw'] })

describe.each([
  { buffered: true, logicalBlockBytes: 512 },
  { buffered: false, logicalBlockBytes: 4096 },
])('on a device that is %j', (device) => {
  test.each([0, 1, 4095, 4096, DATA_BYTES - 4096, DATA_BYTES, DATA_BYTES + 1, 5 * DATA_BYTES - 8192, 1_000_001])(
    'a stream of %i bytes comes back, also after the cache was opened again',
    async (length) => {
      const objects = await TestObjects.create(device)
      const stream = stamped(length, 7)
      const object = await objects.run(objects.store(ID, stream, ATTRIBUTES))
      expect(object.chunks).toHaveLength(chunksFor(ATTRIBUTES.length, length, CHUNK_BYTES))
      expect(await objects.run(objects.read(ID, stream))).toEqual({ isRight: true, attributes: ATTRIBUTES })
      for (const crash of ['kill', 'power-cut'] as const) {
        await objects.crash(crash)
        const pool = await objects.open()
        expect(pool.objects.get(ID)).toMatchObject({ state: 'sealed', damage: null, missingChunks: 0 })
        expect(pool.objects.get(ID)!.seal).toMatchObject({ streamBytes: length, vm: VM, name: 'web01' })
        expect([pool.freeChunks, pool.objectChunks]).toEqual([24 - object.chunks.length, object.chunks.length])
        expect(await objects.run(objects.read(ID, stream))).toEqual({ isRight: true, attributes: ATTRIBUTES })
      }
    },
  )
})

test('without attributes, and with the longest', async () => {
  const objects = await TestObjects.create()
  const stream = stamped(300_000, 3)
  for (const [id, attributes] of [
    ['01'.repeat(16), ''],
    ['02'.repeat(16), 'x'.repeat(65536)],
  ] as const) {
    await objects.run(objects.store(id, stream, attributes))
    expect(await objects.run(objects.read(id, stream))).toEqual({ isRight: true, attributes })
  }
})

test('chunks of one device are used first, then those of the others', async () => {
  const objects = await TestObjects.create({ devices: [3, 8] })
  const stream = stamped(9 * DATA_BYTES, 5)
  const object = await objects.run(objects.store(ID, stream))
  expect(object.chunks.filter(({ chunk }) => chunk.deviceIndex === 0).length).toBeGreaterThan(0)
  await objects.open()
  expect(await objects.run(objects.read(ID, stream))).toEqual({ isRight: true, attributes: '' })
})

test('deleted, its chunks are free, also after a power cut', async () => {
  const objects = await TestObjects.create()
  const object = await objects.run(objects.store(ID, stamped(700_000, 1), ATTRIBUTES))
  await objects.run(objects.remove(object))
  expect([objects.pool.freeChunks, objects.pool.objectChunks, objects.pool.objects.size]).toEqual([24, 0, 0])
  await objects.crash('power-cut')
  const pool = await objects.open()
  expect([pool.freeChunks, pool.objectChunks, pool.objects.size]).toEqual([24, 0, 0])
})

describe('a flipped bit', () => {
  async function damaged(at: (chunk: number) => number): Promise<TestObjects> {
    const objects = await TestObjects.create()
    const { chunks } = await objects.run(objects.store(ID, stamped(700_000, 1), ATTRIBUTES))
    objects.devices[0]!.flip(chunks[2]!.chunk.offset + at(2))
    return objects
  }

  test('of the data is CORRUPT, and nothing of its block is given out', async () => {
    for (const at of [CHUNK_HEADER_BYTES, CHUNK_HEADER_BYTES + 70_000, CHUNK_BYTES - 1]) {
      const objects = await damaged(() => at)
      await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({
        code: 'CORRUPT',
        message: expect.stringMatching(
          /^checkpoint .* of VM web01 is damaged: block \d of its chunk 2, chunk \d+ of \/simulated\/device0/,
        ),
      })
    }
  })

  test('of the checksums is CORRUPT; the cache keeps the object, and says so', async () => {
    const objects = await damaged(() => 512 + 310)
    await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({ code: 'CORRUPT' })
    const pool = await objects.open()
    expect(pool.objects.get(ID)).toMatchObject({
      state: 'sealed',
      damage: 'the headers of 1 of its 6 chunks are damaged',
    })
    await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({ code: 'CORRUPT' })
  })

  test('of the first sector leaves a chunk that nobody gets; deleted, all are free', async () => {
    const objects = await damaged(() => 40)
    await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({ code: 'CORRUPT' })
    for (let round = 0; round < 2; round++) {
      const pool = await objects.open()
      expect(pool.objects.get(ID)).toMatchObject({ state: 'sealed', damage: '1 of its 6 chunks are missing' })
      expect([pool.freeChunks, pool.objectChunks]).toEqual([18, 6])
      await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({ code: 'CORRUPT' })
    }
    await objects.run(objects.remove(objects.pool.objects.get(ID)!))
    expect(objects.pool.freeChunks).toBe(24)
    expect((await objects.open()).freeChunks).toBe(24)
  })
})

test('an object that was being sealed is sealed when the cache is opened, in every chunk', async () => {
  const objects = await TestObjects.create()
  const { chunks } = await objects.run(objects.store(ID, stamped(700_000, 1)))
  await objects.run(writeFlags(chunks.slice(1), 0))
  expect((await objects.open()).objects.get(ID)).toMatchObject({ state: 'sealed', damage: null })
  // The one that said so is no more.
  objects.devices[0]!.flip(chunks[0]!.chunk.offset + 40)
  expect((await objects.open()).objects.get(ID)).toMatchObject({ state: 'sealed', missingChunks: 1 })
})

test('with a device missing an object is kept as it is, whatever state it is in', async () => {
  const objects = await TestObjects.create({ devices: [3, 8] })
  await objects.run(objects.store(ID, stamped(9 * DATA_BYTES, 5)))
  const pool = await objects.open({ allowMissing: true, devices: [objects.devices[0]!] })
  expect(pool.objects.get(ID)).toMatchObject({ state: 'sealed', missingChunks: expect.any(Number) as number })
  expect(pool.objects.get(ID)!.missingChunks).toBeGreaterThan(0)
  await expect(objects.run(objects.read(ID, Buffer.alloc(0)))).rejects.toMatchObject({ code: 'CORRUPT' })
  await objects.open()
  expect(await objects.run(objects.read(ID, stamped(9 * DATA_BYTES, 5)))).toMatchObject({ isRight: true })
})

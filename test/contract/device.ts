/**
 * What every device must do, whatever is behind it. A new kind of device proves itself with a test file that calls
 * {@link testDevice}; a simulated device proves with the same suite that it behaves like a real one.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Device } from '../../src/engine/device/device.js'

export interface DeviceFixture {
  /** Opens the device, again and beside others too, as each thread of an engine does. */
  open(): Promise<Device>
  remove(): Promise<void>
}

/** At least this size is needed; its content does not matter. */
export const DEVICE_CONTRACT_BYTES = 16 * 1024 * 1024

const PAGE_BYTES = 4096

/** Bytes that tell where and in which version they were written. */
function pattern(offset: number, length: number, version = 1): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 8) {
    bytes.writeUInt32LE((offset + at) >>> 3, at)
    bytes.writeUInt32LE(version, at + 4)
  }
  return bytes
}

async function readAll(device: Device, offset: number, length: number): Promise<Buffer> {
  const target = Buffer.alloc(length)
  if (!device.tryRead(offset, target, 0, length)) await device.read(offset, target, 0, length)
  return target
}

export function testDevice(name: string, create: () => Promise<DeviceFixture>): void {
  describe(`device: ${name}`, () => {
    let fixture: DeviceFixture
    let device: Device

    beforeEach(async () => {
      fixture = await create()
      device = await fixture.open()
    })

    afterEach(async () => {
      await device.close()
      await fixture.remove()
    })

    it('says what it is', () => {
      expect(device.path).not.toBe('')
      expect([512, 4096]).toContain(device.logicalBlockBytes)
      expect(device.sizeBytes).toBeGreaterThanOrEqual(DEVICE_CONTRACT_BYTES)
      expect(device.sizeBytes % device.logicalBlockBytes).toBe(0)
    })

    it('reads what was written, with and without waiting', async () => {
      await device.write(PAGE_BYTES, pattern(PAGE_BYTES, 3 * PAGE_BYTES))
      expect((await readAll(device, PAGE_BYTES, 3 * PAGE_BYTES)).equals(pattern(PAGE_BYTES, 3 * PAGE_BYTES))).toBe(true)
      const target = Buffer.alloc(PAGE_BYTES)
      await device.read(2 * PAGE_BYTES, target, 0, PAGE_BYTES)
      expect(target.equals(pattern(2 * PAGE_BYTES, PAGE_BYTES))).toBe(true)
    })

    it('writes one logical block and leaves its neighbours alone', async () => {
      const block = device.logicalBlockBytes
      await device.write(0, pattern(0, 3 * block))
      await device.write(block, pattern(block, block, 2))
      expect((await readAll(device, 0, block)).equals(pattern(0, block))).toBe(true)
      expect((await readAll(device, block, block)).equals(pattern(block, block, 2))).toBe(true)
      expect((await readAll(device, 2 * block, block)).equals(pattern(2 * block, block))).toBe(true)
    })

    it('reads any range to any place, and touches nothing else there', async () => {
      await device.write(0, pattern(0, 64 * 1024))
      for (const [offset, length, at] of [
        [8, 16, 3],
        [504, 16, 0],
        [4088, 8200, 77],
        [512, 512, 512],
        [0, 64 * 1024, 1],
      ] as const) {
        const target = Buffer.alloc(at + length + 100, 0xee)
        await device.read(offset, target, at, length)
        expect(target.subarray(at, at + length).equals(pattern(0, 64 * 1024).subarray(offset, offset + length))).toBe(
          true,
        )
        expect(target.subarray(0, at).every((byte) => byte === 0xee)).toBe(true)
        expect(target.subarray(at + length).every((byte) => byte === 0xee)).toBe(true)
      }
    })

    it('takes requests of many mebibytes', async () => {
      const length = 5 * 1024 * 1024
      await device.write(1024 * 1024, pattern(1024 * 1024, length))
      expect((await readAll(device, 1024 * 1024, length)).equals(pattern(1024 * 1024, length))).toBe(true)
    })

    it('writes to the last block', async () => {
      const block = device.logicalBlockBytes
      await device.write(device.sizeBytes - block, pattern(0, block, 9))
      expect((await readAll(device, device.sizeBytes - block, block)).equals(pattern(0, block, 9))).toBe(true)
    })

    it('serves many requests at a time', async () => {
      const offsets = Array.from({ length: 256 }, (_, index) => index * 8192)
      await Promise.all(offsets.map(async (offset) => device.write(offset, pattern(offset, 8192, offset))))
      const all = await Promise.all(offsets.map((offset) => readAll(device, offset, 8192)))
      all.forEach((bytes, index) => expect(bytes.equals(pattern(offsets[index]!, 8192, offsets[index]!))).toBe(true))
    })

    it('shows to others who have it open what was written', async () => {
      const other = await fixture.open()
      await device.write(8192, pattern(8192, 8192, 3))
      expect((await readAll(other, 8192, 8192)).equals(pattern(8192, 8192, 3))).toBe(true)
      await other.close()
    })

    it('commits ranges, and changes none of their bytes', async () => {
      const block = device.logicalBlockBytes
      await device.write(0, pattern(0, 1024 * 1024))
      await device.commit([])
      await device.commit([{ offset: 0, length: block }])
      await device.commit([
        { offset: 512 * 1024, length: 4096 },
        { offset: 8192, length: 8192 },
        { offset: 12288, length: 8192 },
      ])
      expect((await readAll(device, 0, 1024 * 1024)).equals(pattern(0, 1024 * 1024))).toBe(true)
    })

    it('loses no write that comes while its place is committed', async () => {
      for (let round = 1; round <= 50; round++) {
        await device.write(4096, pattern(4096, 4096, round))
        const commits = [
          device.commit([{ offset: 4096, length: 4096 }]),
          device.commit([{ offset: 4096, length: 4096 }]),
        ]
        for (let turn = 0; turn < round % 10; turn++) await new Promise((resolve) => setImmediate(resolve))
        await device.write(4096, pattern(4096, 4096, 1000 + round))
        await Promise.all(commits)
        expect((await readAll(device, 4096, 4096)).equals(pattern(4096, 4096, 1000 + round))).toBe(true)
      }
    })

    it('closes after the calls in flight', async () => {
      const reader = await fixture.open()
      await reader.write(0, pattern(0, 1024 * 1024, 5))
      const target = Buffer.alloc(1024 * 1024)
      const read = reader.read(0, target, 0, target.length)
      const commit = reader.commit([{ offset: 0, length: 4096 }])
      await reader.close()
      await Promise.all([read, commit])
      expect(target.equals(pattern(0, 1024 * 1024, 5))).toBe(true)
      expect(() => reader.tryRead(0, target, 0, 512)).toThrow(/closed/)
    })

    it('takes a range beyond its end for a bug', async () => {
      const block = Buffer.alloc(device.logicalBlockBytes)
      await expect(device.read(device.sizeBytes, block, 0, block.length)).rejects.toThrow(/within the device/)
      await expect(device.write(device.sizeBytes, block)).rejects.toThrow(/within the device/)
      expect(() => device.tryRead(device.sizeBytes, block, 0, block.length)).toThrow(/within the device/)
    })
  })
}

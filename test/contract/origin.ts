/**
 * What every origin must do, whatever is behind it. A new kind of origin proves itself with a test file that calls
 * {@link testOrigin}; decorators of origins prove with the same suite that they change nothing else.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { OriginError, type Origin } from '../../src/engine/origin/origin.js'

export interface OriginFixture {
  /** Opens the origin, again and beside others too. */
  open(options: { readOnly: boolean }): Promise<Origin>
  remove(): Promise<void>
}

/** The origin has this size and is full of {@link FILLING} at first. */
export const ORIGIN_CONTRACT_BYTES = 8 * 1024 * 1024
export const FILLING = 0xa5

const MEBIBYTE = 1024 * 1024

function pattern(offset: number, length: number, version = 1): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at += 8) {
    bytes.writeUInt32LE((offset + at) >>> 3, at)
    bytes.writeUInt32LE(version, at + 4)
  }
  return bytes
}

export function testOrigin(name: string, create: () => Promise<OriginFixture>): void {
  describe(`origin: ${name}`, () => {
    let fixture: OriginFixture
    let origin: Origin
    let block: number

    const read = async (offset: number, length: number): Promise<Buffer> => {
      const target = Buffer.alloc(length)
      await origin.read(offset, target)
      return target
    }
    const isFilled = (bytes: Buffer, value: number): boolean => bytes.equals(Buffer.alloc(bytes.length, value))

    beforeEach(async () => {
      fixture = await create()
      origin = await fixture.open({ readOnly: false })
      block = origin.description.logicalBlockBytes
    })

    afterEach(async () => {
      await origin.close(5000)
      await fixture.remove()
    })

    it('says what it is', () => {
      expect(origin.description).toMatchObject({ sizeBytes: ORIGIN_CONTRACT_BYTES, readOnly: false })
      expect(origin.description.uri).toMatch(/^(\/|nbd)/)
      expect([512, 4096]).toContain(block)
    })

    it('reads what is there and what was written, and leaves the neighbours alone', async () => {
      expect(isFilled(await read(0, MEBIBYTE), FILLING)).toBe(true)
      await origin.write(2 * block, pattern(0, 3 * block))
      expect((await read(2 * block, 3 * block)).equals(pattern(0, 3 * block))).toBe(true)
      expect((await read(3 * block, block)).equals(pattern(0, 3 * block).subarray(block, 2 * block))).toBe(true)
      expect(isFilled(await read(0, 2 * block), FILLING)).toBe(true)
      expect(isFilled(await read(5 * block, block), FILLING)).toBe(true)
    })

    it('reads and writes memory anywhere', async () => {
      const memory = Buffer.alloc(5 * block + 3, 0xee)
      pattern(7, 2 * block, 4).copy(memory, 3)
      await origin.write(block, memory.subarray(3, 3 + 2 * block))
      await origin.read(block, memory.subarray(3 * block + 1, 5 * block + 1))
      expect(memory.subarray(3 * block + 1, 5 * block + 1).equals(pattern(7, 2 * block, 4))).toBe(true)
      expect(isFilled(memory.subarray(5 * block + 1), 0xee)).toBe(true)
    })

    it('takes requests of many mebibytes, up to the last block', async () => {
      const length = 5 * MEBIBYTE
      const offset = ORIGIN_CONTRACT_BYTES - length
      await origin.write(offset, pattern(offset, length))
      expect((await read(offset, length)).equals(pattern(offset, length))).toBe(true)
    })

    it('serves many calls at a time', async () => {
      const offsets = Array.from({ length: 100 }, (_, index) => index * 65536)
      await Promise.all(offsets.map((offset) => origin.write(offset, pattern(offset, 4096, offset))))
      const all = await Promise.all(offsets.map((offset) => read(offset, 4096)))
      all.forEach((bytes, index) => expect(bytes.equals(pattern(offsets[index]!, 4096, offsets[index]!))).toBe(true))
    })

    it('flushes, many at a time, within one session', async () => {
      const { session } = origin
      await origin.write(0, pattern(0, 4096))
      await Promise.all([origin.flush(), origin.flush(), origin.flush()])
      await origin.flush()
      expect(origin.session).toBe(session)
    })

    for (const mayTrim of [true, false]) {
      it(`zeroes a range, ${mayTrim ? 'by a hole or not' : 'without a hole'}`, async () => {
        await origin.zero(block, 2 * MEBIBYTE, { mayTrim, fast: false })
        expect(isFilled(await read(block, 2 * MEBIBYTE), 0)).toBe(true)
        expect(isFilled(await read(0, block), FILLING)).toBe(true)
        expect(isFilled(await read(2 * MEBIBYTE + block, block), FILLING)).toBe(true)
      })
    }

    it('zeroes fast, or says that it cannot and has done nothing', async () => {
      const outcome = await origin.zero(0, MEBIBYTE, { mayTrim: true, fast: true }).catch((error: unknown) => error)
      if (outcome === undefined) expect(isFilled(await read(0, MEBIBYTE), 0)).toBe(true)
      else {
        expect(outcome).toMatchObject({ name: 'OriginError', errno: 'ENOTSUP' })
        expect(isFilled(await read(0, MEBIBYTE), FILLING)).toBe(true)
      }
    })

    it('trims a range and nothing else', async () => {
      await origin.trim(MEBIBYTE, MEBIBYTE)
      expect(isFilled(await read(0, MEBIBYTE), FILLING)).toBe(true)
      expect(isFilled(await read(2 * MEBIBYTE, MEBIBYTE), FILLING)).toBe(true)
    })

    it('maps a range from start to end, and calls nothing zero that is not', async () => {
      await origin.zero(MEBIBYTE, MEBIBYTE, { mayTrim: true, fast: false })
      for (const [offset, length] of [
        [0, ORIGIN_CONTRACT_BYTES],
        [MEBIBYTE - block, 3 * block],
        [2 * MEBIBYTE - block, 2 * block],
        [ORIGIN_CONTRACT_BYTES - block, block],
      ] as const) {
        let position = offset
        for (const extent of await origin.allocation(offset, length)) {
          expect(extent.length).toBeGreaterThan(0)
          if (extent.zero) expect(isFilled(await read(position, extent.length), 0)).toBe(true)
          position += extent.length
        }
        expect(position).toBe(offset + length)
      }
    })

    it('refuses to change anything where it is read-only', async () => {
      const reader = await fixture.open({ readOnly: true })
      expect(reader.description.readOnly).toBe(true)
      const refusal = { name: 'OriginError', errno: 'EPERM' }
      await expect(reader.write(0, pattern(0, 4096))).rejects.toMatchObject(refusal)
      await expect(reader.trim(0, 4096)).rejects.toMatchObject(refusal)
      await expect(reader.zero(0, 4096, { mayTrim: true, fast: false })).rejects.toMatchObject(refusal)
      const target = Buffer.alloc(4096)
      await reader.read(0, target)
      expect(isFilled(target, FILLING)).toBe(true)
      await reader.close(5000)
    })

    it('closes after the calls in flight, and takes none afterwards', async () => {
      const other = await fixture.open({ readOnly: false })
      const target = Buffer.alloc(MEBIBYTE)
      const calls = [other.read(0, target), other.write(4 * MEBIBYTE, pattern(0, MEBIBYTE))]
      await other.close(5000)
      await Promise.all(calls)
      expect(isFilled(target, FILLING)).toBe(true)
      expect((await read(4 * MEBIBYTE, MEBIBYTE)).equals(pattern(0, MEBIBYTE))).toBe(true)
      await expect(other.read(0, target)).rejects.toBeInstanceOf(OriginError)
      await expect(other.read(0, target)).rejects.toMatchObject({ errno: 'ESHUTDOWN' })
      await other.close(5000)
    })
  })
}

/** The phase that partition tables ask for, and what is no partition table. */
import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { phaseOf } from '../../../../src/engine/disk/detect-phase.js'

const SECTOR = 512
const LINUX = 0x83

interface Partition {
  readonly start: number
  readonly sectors: number
  readonly type?: number
}

function mbr(...partitions: readonly Partition[]): Buffer {
  const head = Buffer.alloc(34 * SECTOR)
  head.writeUInt16LE(0xaa55, 510)
  for (const [entry, { start, sectors, type }] of partitions.entries()) {
    const at = 446 + 16 * entry
    head.writeUInt8(type ?? LINUX, at + 4)
    head.writeUInt32LE(start, at + 8)
    head.writeUInt32LE(sectors, at + 12)
  }
  return head
}

function gpt(...partitions: readonly Partition[]): Buffer {
  const head = mbr({ start: 1, sectors: 0xffff_ffff, type: 0xee })
  head.write('EFI PART', SECTOR, 'latin1')
  head.writeBigUInt64LE(2n, SECTOR + 72)
  head.writeUInt32LE(128, SECTOR + 80)
  head.writeUInt32LE(128, SECTOR + 84)
  for (const [entry, { start, sectors }] of partitions.entries()) {
    // Entries may have unused ones between them.
    const at = 2 * SECTOR + 128 * (2 * entry + 1)
    head.fill(0x5a, at, at + 32)
    head.writeBigUInt64LE(BigInt(start), at + 32)
    head.writeBigUInt64LE(BigInt(start + sectors - 1), at + 40)
  }
  return head
}

describe('phaseOf', () => {
  it.each([
    [63, 1],
    [2048, 0],
    [2049, 7],
    [1, 7],
    [34, 6],
  ])('moves a partition at sector %d by %d sectors', (start, phase) => {
    expect(phaseOf(mbr({ start, sectors: 1000 }))).toEqual({ sectors: phase, source: 'partitions' })
    expect(phaseOf(gpt({ start, sectors: 1000 }))).toEqual({ sectors: phase, source: 'partitions' })
  })

  it('takes the largest partition', () => {
    const partitions = [
      { start: 2048, sectors: 1000 },
      { start: 4159, sectors: 9000 },
      { start: 16_384, sectors: 2000 },
    ]
    expect(phaseOf(mbr(...partitions)).sectors).toBe(1)
    expect(phaseOf(gpt(...partitions)).sectors).toBe(1)
  })

  it('knows partitions beyond 2 TiB', () => {
    expect(phaseOf(gpt({ start: 34, sectors: 1000 }, { start: 2 ** 33 + 63, sectors: 2 ** 33 })).sectors).toBe(1)
  })

  it.each([
    ['an empty disk', Buffer.alloc(34 * SECTOR)],
    ['no disk', Buffer.alloc(0)],
    ['an empty table', mbr()],
    ['an unused entry', mbr({ start: 63, sectors: 1000, type: 0 })],
    ['a protective entry without GPT', mbr({ start: 1, sectors: 100, type: 0xee })],
  ])('is 0, from nothing, for %s', (_, head) => {
    expect(phaseOf(head)).toEqual({ sectors: 0, source: 'none' })
  })

  it('makes a phase of any noise, cut anywhere', () => {
    const random = new SeededRandom(7)
    for (let round = 0; round < 2000; round++) {
      const head = round % 2 === 0 ? mbr({ start: 63, sectors: 9 }) : gpt({ start: 63, sectors: 9 })
      for (let flips = 0; flips < 40; flips++)
        head.writeUInt8(random.below(256), SECTOR + random.below(head.length - SECTOR))
      for (let flips = 0; flips < 8; flips++) head.writeUInt8(random.below(256), 446 + random.below(64))
      const { sectors } = phaseOf(head.subarray(0, random.below(head.length + 1)))
      expect(Number.isInteger(sectors) && sectors >= 0 && sectors < 8).toBe(true)
    }
  })
})

import { describe, expect, test } from 'vitest'
import { AssertionError } from '../../../src/base/assert.js'
import { checksumOf } from '../../../src/base/checksum.js'
import { chunkHeaderLayout, chunkNamesLayout } from '../../../src/format/chunk-header.js'
import { localHeaderLayout, portableHeaderLayout } from '../../../src/format/frame.js'
import { Structure, type FieldType } from '../../../src/format/structure.js'
import { summaryLayout } from '../../../src/format/summary.js'
import { superblockLayout } from '../../../src/format/superblock.js'

/** A structure of one field and, to fill it up, reserved bytes. */
function single(type: FieldType): Structure<{ field: FieldType; reserved: `reserved:${number}` }> {
  const width = { u8: 1, u16: 2, u32: 4, u64: 8, id: 16 }[type as string] ?? Number(type.split(':')[1])
  return new Structure('single', 'TEST', 64, { field: type, reserved: `reserved:${56 - width}` })
}

function roundTrip(type: FieldType, value: number | string): unknown {
  const structure = single(type)
  const bytes = Buffer.alloc(64, 0xee)
  structure.encode(bytes, 0, { field: value } as never)
  return structure.read(bytes, 0)
}

describe('a field', () => {
  test.each([
    ['u8', 0],
    ['u8', 0xff],
    ['u16', 0xfffe],
    ['u32', 0xffff_fffd],
    ['u64', 0],
    ['u64', 0xffff_ffff],
    ['u64', 2 ** 32],
    ['u64', Number.MAX_SAFE_INTEGER],
    ['id', '00112233445566778899aabbccddeeff'],
    ['text:10', ''],
    ['text:10', 'ten bytes!'],
    ['text:10', 'über'],
  ] as const)('of type %s holds %s', (type, value) => {
    expect(roundTrip(type, value)).toEqual({ field: value })
  })

  test.each([
    ['u8', 256],
    ['u16', -1],
    ['u32', 2 ** 32],
    ['u64', -1],
    ['u64', 1.5],
    ['u64', 2 ** 53],
    ['id', 'abc'],
    ['id', '00112233445566778899aabbccddeefg'],
    ['text:10', 'eleven byte'],
    ['text:3', 'üü'],
  ] as const)('of type %s does not hold %s', (type, value) => {
    expect(() => roundTrip(type, value)).toThrow()
  })

  test('beyond the safe integers is no value', () => {
    const structure = single('u64')
    const bytes = Buffer.alloc(64)
    structure.encode(bytes, 0, { field: 0 } as never)
    bytes.writeBigUInt64LE(2n ** 53n, 8)
    structure.reseal(bytes, 0)
    expect(structure.verify(bytes, 0)).toBe(true)
    expect(structure.read(bytes, 0)).toBeUndefined()
  })
})

describe('a structure', () => {
  test('fills its size exactly', () => {
    expect(() => new Structure('short', 'TEST', 16, { field: 'u32' })).toThrow(AssertionError)
    expect(() => new Structure('long', 'TEST', 8, { field: 'u32' })).toThrow(AssertionError)
    expect(() => new Structure('named', 'TEST5', 12, { field: 'u32' })).toThrow(AssertionError)
  })

  test('writes zeroes into what is reserved', () => {
    const bytes = Buffer.alloc(64, 0xee)
    single('u8').encode(bytes, 0, { field: 1 } as never)
    expect(bytes.subarray(9)).toEqual(Buffer.alloc(55))
  })

  test('begins with a checksum over all that follows, then its magic number, little-endian', () => {
    const bytes = Buffer.alloc(64)
    single('u16').encode(bytes, 0, { field: 0x1234 } as never)
    expect(bytes.readUInt32LE(0)).toBe(checksumOf(bytes.subarray(4)))
    expect(bytes.toString('latin1', 4, 8)).toBe('TEST')
    expect([...bytes.subarray(8, 10)]).toEqual([0x34, 0x12])
  })

  test('its checksum may cover more than itself', () => {
    const structure = single('u8')
    const bytes = Buffer.alloc(100, 7)
    structure.encode(bytes, 0, { field: 1 } as never, 90)
    expect(structure.verify(bytes, 0, 90)).toBe(true)
    bytes[89]! ^= 1
    expect(structure.verify(bytes, 0, 90)).toBe(false)
    expect(structure.verify(bytes, 0, 101)).toBe(false)
  })

  test.each([
    superblockLayout,
    chunkHeaderLayout,
    chunkNamesLayout,
    localHeaderLayout,
    portableHeaderLayout,
    summaryLayout,
  ])('the fields of the $name lie back to back behind checksum and magic', (layout) => {
    let offset = 8
    for (const field of layout.fields) {
      expect(field.offset, field.name).toBe(offset)
      offset += field.bytes
    }
    expect(offset).toBe(layout.sizeBytes)
    if (layout !== chunkNamesLayout) expect(layout.fields[0]).toMatchObject({ name: 'version', type: 'u16', offset: 8 })
  })
})

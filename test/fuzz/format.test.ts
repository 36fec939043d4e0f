/** Decoders of the structures on the device: noise and mutated structures are refused or read, never thrown at, and what is read is bounded. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checksumOf } from '../../src/base/checksum.js'
import { decodeChunkHeader } from '../../src/format/chunk-header.js'
import {
  EXTENT_KIND,
  LOCAL_HEADER_BYTES,
  MAXIMUM_FRAME_BYTES,
  decodeFrame,
  frameDataOffset,
} from '../../src/format/frame.js'
import { decodeSummaryTrailer } from '../../src/format/summary.js'
import { decodeObjectHeader } from '../../src/format/object-header.js'
import { MAXIMUM_DEVICES, decodeSuperblock } from '../../src/format/superblock.js'
import { SAMPLES, frameOf, type Sample } from '../unit/format/samples.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/format.test.ts`

function holds<T extends [unknown, ...unknown[]]>(
  arbitraries: { [K in keyof T]: fc.Arbitrary<T[K]> },
  property: (...values: T) => void,
  numRuns = 1000,
): void {
  fc.assert(fc.property(...arbitraries, property), {
    seed,
    numRuns,
    reporter: (run) => {
      if (run.failed) throw new Error(`${fc.defaultReportMessage(run)}\n${repeat}`, { cause: run.errorInstance })
    },
  })
}

const noise = fc.uint8Array({ maxLength: 8192 }).map((bytes) => Buffer.from(bytes))
/** By name, which is what a counterexample prints. */
const sample = fc.constantFrom(...SAMPLES.map(({ name }) => name))
const sampleOf = (wanted: string): Sample => SAMPLES.find(({ name }) => name === wanted)!
const values32 = fc.oneof(
  fc.nat({ max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 511, 512, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
)
/** Writes to make into a structure: where, as a share of its length, and what. */
const mutations = fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), value: values32 }), {
  minLength: 1,
  maxLength: 4,
})

function mutated(bytes: Buffer, changes: readonly { at: number; value: number }[], most: number): Buffer {
  const copy = Buffer.from(bytes)
  for (const { at, value } of changes) copy.writeUInt32LE(value, Math.floor(at * (Math.min(most, copy.length) - 4)))
  return copy
}

/** Makes every checksum right again, so that the checks behind them are reached. */
function sealed(bytes: Buffer): Buffer {
  if (bytes.toString('latin1', 4, 8) !== 'vmFL' || bytes.length < LOCAL_HEADER_BYTES + 4) {
    if (bytes.length >= 8) bytes.writeUInt32LE(checksumOf(bytes, 4), 0)
    return bytes
  }
  const end = Math.min(Math.max(bytes.readUInt32LE(12), LOCAL_HEADER_BYTES + 4), bytes.length)
  bytes.writeUInt32LE(checksumOf(bytes, LOCAL_HEADER_BYTES + 4, end), LOCAL_HEADER_BYTES)
  bytes.writeUInt32LE(bytes.readUInt32LE(LOCAL_HEADER_BYTES), 64)
  bytes.writeUInt32LE(checksumOf(bytes, 4, LOCAL_HEADER_BYTES), 0)
  return bytes
}

/** Everything that reads bytes of a device, at an offset; what they answer is within bounds. */
function readAll(bytes: Buffer, at: number): void {
  const superblock = decodeSuperblock(bytes.subarray(at))
  if (superblock.kind === 'superblock') {
    expect(superblock.superblock.devices.length).toBeLessThanOrEqual(MAXIMUM_DEVICES)
    expect(superblock.superblock.chunkBytes).toBeGreaterThan(0)
  }
  decodeChunkHeader(bytes, at)
  decodeObjectHeader(bytes, at)
  decodeSummaryTrailer(bytes, at)
  const frame = decodeFrame(bytes, at)
  if (frame === undefined) return
  const { local, portable, extents, pageChecksums } = frame
  expect(local.frameBytes % 512).toBe(0)
  expect(local.frameBytes).toBeGreaterThan(0)
  expect(local.frameBytes).toBeLessThanOrEqual(Math.min(MAXIMUM_FRAME_BYTES, bytes.length - at))
  expect(frameDataOffset(local.headerBytes) + portable.dataSectors * 512).toBeLessThanOrEqual(local.frameBytes)
  const pages = extents.reduce((sum, { kind, count }) => sum + (kind === EXTENT_KIND.data ? count : 0), 0)
  expect(pageChecksums.length).toBe(pages)
}

describe('no decoder throws, and none reads beyond its bytes', () => {
  test('over noise', () => {
    holds([noise, fc.nat({ max: 9000 })], (bytes, at) => readAll(bytes, Math.min(at, bytes.length)))
  })

  test('over noise behind a right magic number', () => {
    holds([noise, sample], (bytes, name) => {
      sampleOf(name).bytes.copy(bytes, 4, 4, Math.min(8, bytes.length))
      readAll(sealed(bytes), 0)
    })
  })

  test('over structures with some numbers changed', () => {
    holds([sample, mutations], (name, changes) => {
      const { bytes, coveredBytes } = sampleOf(name)
      const changed = mutated(bytes, changes, coveredBytes)
      readAll(changed, 0)
      readAll(sealed(changed), 0)
    })
  })

  test('over frames cut and joined', () => {
    holds([sample, sample, fc.nat(), fc.nat({ max: 8192 })], (first, second, cut, at) => {
      const { bytes } = sampleOf(first)
      const joined = Buffer.concat([bytes.subarray(0, cut % bytes.length), sampleOf(second).bytes])
      readAll(joined, Math.min(at, joined.length))
    })
  })
})

test('a structure with changed bytes is never taken for what it was', () => {
  holds([sample, mutations], (name, changes) => {
    const { bytes, coveredBytes, decode } = sampleOf(name)
    const changed = mutated(bytes, changes, coveredBytes)
    if (!changed.equals(bytes)) expect(decode(changed)).toBeUndefined()
  })
})

test('every frame that can be written is read as it was', () => {
  const extent = fc.oneof(
    fc.record({
      kind: fc.constant<number>(EXTENT_KIND.data),
      page: fc.nat({ max: 0xffff_ffff }),
      count: fc.integer({ min: 1, max: 40 }),
      sectorMap: fc.integer({ min: 1, max: 255 }),
    }),
    fc.record({
      kind: fc.constantFrom<number>(
        EXTENT_KIND.zero,
        EXTENT_KIND.trim,
        EXTENT_KIND.invalid,
        EXTENT_KIND.touched,
        EXTENT_KIND.quiet,
      ),
      page: fc.nat({ max: 0xffff_ffff }),
      count: fc.nat({ max: 0xffff_ffff }),
      sectorMap: fc.nat({ max: 255 }),
    }),
  )
  holds(
    [fc.array(extent, { maxLength: 20 }), fc.constantFrom(512, 4096), fc.constantFrom(1, 2)],
    (extents, block, kind) => {
      const { bytes, pageChecksums } = frameOf(extents, { kind, block })
      expect(decodeFrame(bytes, 0)).toMatchObject({ extents, pageChecksums, portable: { kind } })
    },
    300,
  )
})

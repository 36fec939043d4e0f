import { expect, test } from 'vitest'
import { checksumOf } from '../../../src/base/checksum.js'
import {
  FIRST_CHUNK_OFFSET,
  FORMAT_VERSION,
  MAXIMUM_DEVICES,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSETS,
  decodeSuperblock,
  encodeSuperblock,
  type Superblock,
} from '../../../src/format/superblock.js'
import { sampleId, superblock } from './samples.js'

function resealed(change: (block: Buffer) => void): Buffer {
  const block = encodeSuperblock(superblock)
  change(block)
  block.writeUInt32LE(checksumOf(block, 4), 0)
  return block
}

test('a newer version is told apart from a bad copy', () => {
  const newer = resealed((block) => block.writeUInt16LE(FORMAT_VERSION + 1, 8))
  expect(decodeSuperblock(newer)).toEqual({ kind: 'newer', version: FORMAT_VERSION + 1 })
  newer[100]! ^= 1
  expect(decodeSuperblock(newer)).toEqual({ kind: 'corrupt' })
})

test('what never was a superblock is foreign', () => {
  expect(decodeSuperblock(Buffer.alloc(SUPERBLOCK_BYTES))).toEqual({ kind: 'foreign' })
  expect(decodeSuperblock(Buffer.from('#!/bin/sh\n'))).toEqual({ kind: 'foreign' })
})

test('as many devices as the format allows', () => {
  const devices = Array.from({ length: MAXIMUM_DEVICES }, (_, index) => ({
    id: sampleId(index),
    chunkCount: index + 1,
  }))
  const many: Superblock = {
    ...superblock,
    deviceCount: MAXIMUM_DEVICES,
    deviceIndex: 63,
    deviceId: devices[63]!.id,
    chunkCount: 64,
    devices,
  }
  expect(decodeSuperblock(encodeSuperblock(many))).toEqual({ kind: 'superblock', superblock: many })
})

test.each<[string, Partial<Superblock>]>([
  ['no device', { deviceCount: 0 }],
  ['more devices than there is room for', { deviceCount: MAXIMUM_DEVICES + 1 }],
  ['a place behind the last device', { deviceIndex: 2 }],
  ['another device in its own place', { deviceId: sampleId(1) }],
  ['another number of chunks than its place says', { chunkCount: 601 }],
  ['chunks of no power of two', { chunkBytes: 3 * 2 ** 20 }],
  ['chunks that are too small', { chunkBytes: 2 ** 16 }],
  ['chunks that are too large', { chunkBytes: 2 ** 26 }],
  ['logical blocks of another size', { logicalBlockBytes: 0 }],
  ['chunks that begin inside of the superblocks', { firstChunkOffset: 4096 }],
  ['blocks that are not made of pages', { blockBytes: 6000 }],
  ['blocks of no page', { blockBytes: 0 }],
])('a superblock with %s is corrupt, whatever its checksum says', (_name, change) => {
  const bytes = encodeSuperblock({ ...superblock, ...change })
  expect(decodeSuperblock(bytes)).toEqual({ kind: 'corrupt' })
})

test('both copies and the first chunk have room', () => {
  expect(SUPERBLOCK_OFFSETS[1] - SUPERBLOCK_OFFSETS[0]).toBeGreaterThanOrEqual(SUPERBLOCK_BYTES)
  expect(FIRST_CHUNK_OFFSET).toBeGreaterThanOrEqual(SUPERBLOCK_OFFSETS[1] + SUPERBLOCK_BYTES)
})

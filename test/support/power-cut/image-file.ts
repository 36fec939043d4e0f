import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { SECTOR_BYTES } from '../../../src/model/geometry.js'
import { stampOf, ZEROES } from './stamps.js'
import type { ChangedSectors } from './storage-model.js'

const PIECE_BYTES = 64 * 1024
const zeroes = Buffer.alloc(PIECE_BYTES)

const isZero = (piece: Buffer): boolean => piece.equals(zeroes.subarray(0, piece.length))

/** Gives a file a content; an existing one stays the same file, by whose inode an engine knows it. `sparse`: with holes for zeroes. */
export function writeImage(path: string, content: Buffer, { sparse }: { readonly sparse: boolean }): void {
  const descriptor = openSync(path, 'a')
  closeSync(descriptor)
  const file = openSync(path, 'r+')
  try {
    if (sparse) ftruncateSync(file, 0)
    ftruncateSync(file, content.length)
    for (let at = 0; at < content.length; at += PIECE_BYTES) {
      const piece = content.subarray(at, at + PIECE_BYTES)
      if (!sparse || !isZero(piece)) writeSync(file, piece, 0, piece.length, at)
    }
  } finally {
    closeSync(file)
  }
}

/** Changes a content as a record says. */
export function applySectors(content: Buffer, sectors: ChangedSectors): void {
  for (const [sector, bytes] of sectors) {
    const at = sector * SECTOR_BYTES
    if (bytes === null) content.fill(0, at, at + SECTOR_BYTES)
    else bytes.copy(content, at)
  }
}

/** The stamp of each sector. */
export function stampsOf(content: Buffer): Int32Array {
  const stamps = new Int32Array(content.length / SECTOR_BYTES).fill(ZEROES)
  for (let at = 0; at < content.length; at += PIECE_BYTES) {
    if (isZero(content.subarray(at, at + PIECE_BYTES))) continue
    for (let sectorAt = at; sectorAt < Math.min(at + PIECE_BYTES, content.length); sectorAt += SECTOR_BYTES) {
      const sector = sectorAt / SECTOR_BYTES
      stamps[sector] = stampOf(sector, content.subarray(sectorAt, sectorAt + SECTOR_BYTES))
    }
  }
  return stamps
}

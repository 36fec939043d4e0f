import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { dataBytesOf } from './stored-object.js'

/** Payload is read and written in pieces of this size, the last one of a chunk is what is left of it: a few of them keep any device busy. */
export const PIECE_BYTES = 1024 * 1024

/** Where a piece of the payload is. */
export interface Piece {
  /** Number of the chunk in its object. */
  readonly number: number
  /** Bytes from the start of the chunk. */
  readonly offset: number
  readonly length: number
}

/** The piece that begins at `position` of a payload of which `left` bytes follow there; undefined at its end. */
export function pieceAt(position: number, left: number, chunkBytes: number): Piece | undefined {
  if (left === 0) return undefined
  const dataBytes = dataBytesOf(chunkBytes)
  const within = position % dataBytes
  const length = Math.min(PIECE_BYTES - (within % PIECE_BYTES), dataBytes - within, left)
  return { number: Math.floor(position / dataBytes), offset: CHUNK_HEADER_BYTES + within, length }
}

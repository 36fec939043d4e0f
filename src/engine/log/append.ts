import { assert } from '../../base/assert.js'
import type { LogChunk } from './log-chunk.js'

/** The frames that one write hands to the device: consecutive bytes of one chunk, gathered in a buffer. */
export class Append {
  /** Bytes of the buffer in use. */
  length = 0
  target: LogChunk | undefined
  /** Where in the chunk the buffer's first byte goes. */
  targetOffset = 0

  constructor(readonly buffer: Buffer) {}

  /** Where in the buffer the next frame of `chunk` goes. */
  begin(chunk: LogChunk, chunkOffset = chunk.writtenOffset): number {
    if (this.length === 0) {
      this.target = chunk
      this.targetOffset = chunkOffset
    }
    assert(this.target === chunk, 'one write goes to one chunk')
    return this.length
  }

  reset(): void {
    this.length = 0
    this.target = undefined
  }
}

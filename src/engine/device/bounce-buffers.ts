import { alignedBuffer, releaseAligned } from './aligned-memory.js'

/** Aligned buffers for data that comes from or goes to memory that is not: at most `count` in use, the rest waits in order. */
export interface BounceBuffers {
  use<T>(action: (buffer: Buffer) => Promise<T>): Promise<T>
}

export function createBounceBuffers(bufferBytes: number, count: number): BounceBuffers {
  const waiting: (() => void)[] = []
  let used = 0

  return {
    async use(action) {
      if (used < count) used++
      else await new Promise<void>((resolve) => waiting.push(resolve))
      const buffer = alignedBuffer(bufferBytes)
      try {
        return await action(buffer)
      } finally {
        releaseAligned(buffer)
        const next = waiting.shift()
        if (next === undefined) used--
        else next()
      }
    },
  }
}

import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'

const CONCURRENT_HEADERS = 16

/** Does `work` for every item, with a block of memory for a chunk header each, several at a time. The first failure ends it. */
export async function eachHeader<Item>(
  items: readonly Item[],
  work: (item: Item, block: Buffer, index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  const run = async (): Promise<void> => {
    const block = alignedBuffer(CHUNK_HEADER_BYTES)
    try {
      while (next < items.length) {
        const index = next++
        await work(items[index]!, block, index)
      }
    } catch (error) {
      next = items.length
      throw error
    } finally {
      releaseAligned(block)
    }
  }
  const outcomes = await Promise.allSettled(Array.from({ length: CONCURRENT_HEADERS }, run))
  const failure = outcomes.find((outcome) => outcome.status === 'rejected')
  if (failure !== undefined) throw failure.reason
}

import { appendTo } from '../../base/append-to.js'
import type { ByteRange, Device } from '../device/device.js'
import type { Chunk } from '../log/chunk-source.js'

/** Puts the first `length` bytes of each chunk on stable storage, one commit for each device. */
export async function commitChunks(chunks: readonly Chunk[], length: (index: number) => number): Promise<void> {
  const ranges = new Map<Device, ByteRange[]>()
  for (const [index, { device, offset }] of chunks.entries()) {
    appendTo(ranges, device, { offset, length: length(index) })
  }
  await Promise.all([...ranges].map(([device, each]) => device.commit(each)))
}

import type { ByteRange, Device } from '../device/device.js'
import type { Chunk } from '../log/chunk-source.js'

/** Puts the first `length` bytes of each chunk on stable storage, one commit for each device. */
export async function commitChunks(chunks: readonly Chunk[], length: (index: number) => number): Promise<void> {
  const ranges = new Map<Device, ByteRange[]>()
  for (const [index, { device, offset }] of chunks.entries()) {
    const range = { offset, length: length(index) }
    const ofDevice = ranges.get(device)
    if (ofDevice === undefined) ranges.set(device, [range])
    else ofDevice.push(range)
  }
  await Promise.all([...ranges].map(([device, each]) => device.commit(each)))
}

/** What is on stable storage when a disk has left write-back, and others may write its origin. */
import { expect, test } from 'vitest'
import { planRecovery, type FoundChunk } from '../../../../src/engine/log/recovery.js'
import { CHUNK_KIND, decodeChunkHeader } from '../../../../src/format/chunk-header.js'
import { CHUNKS, CHUNK_BYTES, openSimulatedDisk } from '../../../support/simulation/simulated-disk.js'
import { stamped } from '../../../support/simulation/simulated-origin.js'

const SEEDS = 20

test('S7 D3: its log holds nothing that it would write again after a power cut', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { random, device, disk, run } = await openSimulatedDisk(seed, { isBuffered: seed % 2 === 0 })
    await run(disk.setMode('write-back'))
    for (let page = 0; page < 1 + random.below(20); page++)
      await run(disk.write(page * 4096, stamped(4096, 1 + page), false))
    await run(disk.setMode('write-through'))

    device.powerCut(() => false)
    const found: FoundChunk[] = []
    for (let index = 0; index < CHUNKS; index++) {
      const offset = index * CHUNK_BYTES
      const header = decodeChunkHeader(device.bytes, offset)
      if (header?.kind !== CHUNK_KIND.log) continue
      found.push({ chunk: { device, deviceIndex: 0, index, offset, generation: header.generation }, header })
    }
    const { dirtyBytes } = await run(planRecovery(found, { chunkBytes: CHUNK_BYTES, bootId: 'cd'.repeat(16) }))
    expect(dirtyBytes, `seed ${seed}; to repeat: npx vitest run test/unit/engine/disk/leave-write-back.test.ts`).toBe(0)
  }
})

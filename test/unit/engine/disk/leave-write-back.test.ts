/** What is on stable storage when a disk has left write-back, and others may write its origin. */
import { expect, test } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { planRecovery, type FoundChunk } from '../../../../src/engine/log/recovery.js'
import { CHUNK_KIND, decodeChunkHeader } from '../../../../src/format/chunk-header.js'
import { DiskOnDevice } from '../../../support/disk-on-device.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'
import { SimulatedOrigin, stamped } from '../../../support/simulation/simulated-origin.js'

const CHUNK_BYTES = 128 * 1024
const CHUNKS = 16
const SEEDS = 20

test('S7 D3: its log holds nothing that it would write again after a power cut', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = new SeededRandom(seed)
    const scheduler = new Scheduler(random)
    const device = new SimulatedDevice('device', CHUNKS * CHUNK_BYTES, 512, seed % 2 === 0, scheduler, random)
    const origin = new SimulatedOrigin(2 ** 24, scheduler, random)
    const run = <T>(work: Promise<T>): Promise<T> => scheduler.run(work)
    const { defer } = scheduler
    const { disk } = await run(DiskOnDevice.open({ origin, device, chunkBytes: CHUNK_BYTES, clock: scheduler, defer }))
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

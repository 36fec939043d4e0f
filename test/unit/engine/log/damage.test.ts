/**
 * One bit of what had been on stable storage changes, anywhere in the frames or summaries of a log, and then its engine dies, the power
 * fails, or it is closed first. Whatever is served afterwards is what was written last.
 */
import { expect, test } from 'vitest'
import { PAGES_PER_REGION } from '../../../../src/engine/log/touched-regions.js'
import { CHUNK_BYTES, FIFO, TestLog } from './test-log.js'

const SEED = process.env['VMCACHE_SIMULATION_SEED']
const RUNS = SEED === undefined ? 150 : 1
/** Pages of a region that is touched at the end, and of one that is quiet again. */
const PAGES = [...Array(24).keys()].flatMap((index) => [index, PAGES_PER_REGION + index])

async function damagedRun(seed: number): Promise<{ damages: number; served: number }> {
  const test = await TestLog.create({
    seed,
    devices: [7, 7],
    buffered: seed % 2 === 0,
    logicalBlockBytes: seed % 3 === 0 ? 4096 : 512,
    replacement: { ...FIFO, reclaimed: (page, heat) => (page % 3 === 0 ? heat : -1) },
  })
  const { random } = test
  const newest = new Map<number, number>()
  await test.mark('touched', 0, 2 * PAGES_PER_REGION)
  await test.commit()
  const change = async (touched: boolean): Promise<void> => {
    const page = random.below(24) + (touched ? 0 : PAGES_PER_REGION)
    const stamp = 1 + random.below(255)
    await test.write(page, stamp)
    newest.set(page, stamp)
    if (random.below(4) === 0) {
      test.log.mark()
      await test.run(test.log.appended())
    }
    if (random.below(10) === 0) await test.commit()
  }
  for (let step = random.below(120); step > 0; step--) await change(random.below(2) === 0)
  await test.idle()
  test.log.mark()
  await test.run(test.log.appended())
  await test.commit()
  await test.mark('quiet', PAGES_PER_REGION, PAGES_PER_REGION)
  await test.commit()

  // Anything behind the headers, which a pool looks at, and below what is stable; what is written later shows that it was.
  const chunks = test.onDevice
  const stableEnd = chunks.at(-1)!.end
  for (let step = 1 + random.below(4); step > 0; step--) await change(true)
  const victim = chunks[random.below(chunks.length)]!
  const end = victim === chunks.at(-1) ? stableEnd : CHUNK_BYTES
  const at = 4096 + random.below(end - 4096)
  const wayOut = random.below(3)
  if (wayOut === 2) await test.run(test.log.close())
  test.damage(victim, at)
  if (wayOut === 0) await test.kill()
  else await test.powerCut()

  let damages = 0
  for (let opening = 0; opening < 2; opening++) {
    damages += (await test.open()).damages
    let served = 0
    for (const page of PAGES) {
      const stamp = await test.read(page)
      if (stamp === undefined) continue
      served++
      expect([page, stamp], `byte ${at} of chunk ${victim.sequence}, way out ${wayOut}`).toEqual([
        page,
        newest.get(page),
      ])
    }
    if (opening === 1) return { damages, served }
    await test.kill()
  }
  throw new Error('unreachable')
}

test('D3 D6: damage below what is stable never brings an older page back', async () => {
  let damages = 0
  let served = 0
  for (let run = 0; run < RUNS; run++) {
    const seed = SEED === undefined ? 1000 + run : Number(SEED)
    try {
      const report = await damagedRun(seed)
      damages += report.damages
      served += report.served
    } catch (error) {
      const repeat = `repeat with VMCACHE_SIMULATION_SEED=${seed} npx vitest run test/unit/engine/log/damage.test.ts`
      throw new Error(`${(error as Error).message}\n${repeat}`, { cause: error })
    }
  }
  if (SEED !== undefined) return
  expect(damages).toBeGreaterThan(0)
  expect(served).toBeGreaterThan(RUNS)
}, 120_000)

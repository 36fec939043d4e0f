/** The destage of one log, without the disk around it. */
import { expect, onTestFinished, test } from 'vitest'
import { Destage } from '../../../../src/engine/disk/destage.js'
import { Fills } from '../../../../src/engine/disk/fills.js'
import { RangeLocks } from '../../../../src/engine/disk/range-locks.js'
import { SimulatedOrigin } from '../../../support/simulation/simulated-origin.js'
import { TestLog } from '../log/test-log.js'

const SECTORS_PER_PAGE = 8
const SEEDS = 20
const ignore = (): void => undefined

interface World {
  readonly test: TestLog
  readonly origin: SimulatedOrigin
  readonly destage: Destage
}

/** A log in write-back that is destaged at once, and reclaimed as soon as that is possible. */
async function newWorld({ seed = 1, chunks = 16 } = {}): Promise<World> {
  const test = await TestLog.create({ seed, devices: [chunks] })
  await test.run(test.log.setWriteBack(true))
  const origin = new SimulatedOrigin(2 ** 30, test.scheduler, test.random)
  const destage = new Destage({
    name: 'disk',
    log: test.log,
    origin,
    phaseBytes: 0,
    clock: test.scheduler,
    locks: new RangeLocks(),
    fills: new Fills(),
    limits: () => ({ lowBytes: 0, highBytes: 2 ** 30, ageMilliseconds: 0 }),
    settings: () => ({ order: 'ordered', barrier: 'flush' }),
    guestAt: () => 0,
    written: ignore,
    passedBarriers: ignore,
    onSettled: () => test.log.reclaim(),
    onTrouble: ignore,
    onDamage: (error) => expect.unreachable(error.message),
  })
  onTestFinished(async () => {
    if (test.log.failure === undefined) await test.run(destage.stop())
  })
  return { test, origin, destage }
}

test('D1: a chunk goes only when what the origin refused of it is on stable storage elsewhere', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { test, origin, destage } = await newWorld({ seed })
    const refused = 3
    origin.refuse(refused * SECTORS_PER_PAGE, SECTORS_PER_PAGE)
    for (let page = 0; page <= refused; page++) await test.write(page, page + 1)
    const { chunk, sequence } = test.log.chunks.at(-1)!
    const isGiven = new Promise<void>((resolve) => {
      const give = test.source.give.bind(test.source)
      test.source.give = (given) => {
        give(given)
        if (given.index === chunk.index) resolve()
      }
    })
    for (let page = 10; test.log.chunks.at(-1)!.sequence === sequence; page++) await test.write(page, page + 1)
    destage.hurry()
    await test.run(isGiven)
    await test.powerCutLosingAll()
    await test.open()
    expect(await test.read(refused), `seed ${seed}`).toBe(refused + 1)
  }
})

test('whoever waits for a destage that is over hears of it', async () => {
  const { test, origin, destage } = await newWorld()
  origin.hang()
  await test.write(1, 1)
  const waiting = destage.drain()
  waiting.catch(ignore)
  const stopping = destage.stop()
  origin.mend()
  await test.run(stopping)
  await test.write(2, 2)
  await expect(test.run(destage.drain())).rejects.toThrow('the destage of disk disk was stopped')
})

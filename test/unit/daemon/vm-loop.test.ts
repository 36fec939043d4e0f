import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/base/logger.js'
import { startVmLoop } from '../../../src/daemon/vm-loop.js'
import { manualClock } from '../../support/manual-clock.js'

const turn = () => new Promise((resolve) => setImmediate(resolve))

function loop(reconcile: (vm: string | null) => Promise<boolean>, observe: () => Promise<void> = async () => {}) {
  const clock = manualClock()
  return { clock, loop: startVmLoop({ reconcile, observe, clock, logger: silentLogger }) }
}

test('it runs at once, once a minute, and soon again where something waits', async () => {
  let runs = 0
  let waits = false
  const { clock, loop: running } = loop(async () => (runs++, waits))
  await turn()
  expect(runs).toBe(1)
  await clock.advance(59_000)
  await turn()
  expect(runs).toBe(1)
  waits = true
  await clock.advance(1000)
  await turn()
  expect(runs).toBe(2)
  waits = false
  await clock.advance(2000)
  await turn()
  expect(runs).toBe(3)
  await running.stop()
  await clock.advance(600_000)
  await turn()
  expect(runs).toBe(3)
})

test('what wakes it while it runs makes it run once more, and a failure does not end it', async () => {
  let runs = 0
  let end: () => void = () => {}
  const { loop: running } = loop(() => {
    runs++
    return new Promise((resolve, reject) => (end = () => (runs === 1 ? reject(new Error('no')) : resolve(false))))
  })
  running.wake(null)
  running.wake(null)
  await turn()
  expect(runs).toBe(1)
  end()
  await turn()
  await turn()
  expect(runs).toBe(2)
  const stopped = running.stop()
  end()
  await stopped
})

test('what VMs do is looked at every 15 s, one look after the other, and a failure does not end it', async () => {
  let looks = 0
  let end: () => void = () => {}
  const observe = () => {
    looks++
    if (looks === 1) return Promise.reject(new Error('no'))
    return new Promise<void>((resolve) => (end = resolve))
  }
  const { clock, loop: running } = loop(async () => false, observe)
  await clock.advance(14_999)
  expect(looks).toBe(1)
  await clock.advance(60_000)
  expect(looks).toBe(2)
  end()
  await clock.advance(15_000)
  expect(looks).toBe(3)
  const stopped = running.stop()
  end()
  await stopped
  await clock.advance(60_000)
  expect(looks).toBe(3)
})

test('a VM that is named is looked at at once, whatever the look at all of them waits for, and again where it waits', async () => {
  const looks: (string | null)[] = []
  let waits = true
  const { clock, loop: running } = loop((vm) => {
    looks.push(vm)
    return vm === null ? new Promise<boolean>(() => {}) : Promise.resolve(waits)
  })
  running.wake('web01')
  await turn()
  expect(looks).toEqual([null, 'web01'])
  waits = false
  await clock.advance(2000)
  expect(looks).toEqual([null, 'web01', 'web01'])
  await clock.advance(600_000)
  expect(looks).toHaveLength(3)
})

import { beforeEach, expect, test } from 'vitest'
import { createSuspendQueue, type SuspendQueue } from '../../../src/operations/suspend-queue.js'
import { manualClock, turn, type ManualClock } from '../../support/manual-clock.js'

const HOUR = 3_600_000
const never = new AbortController().signal

let clock: ManualClock
let queue: SuspendQueue
let begun: string[]

beforeEach(() => {
  clock = manualClock()
  queue = createSuspendQueue(clock)
  begun = []
})

const note = (name: string) => async () => void begun.push(name)

test('so many begin in an hour, whoever asks; the others wait in their order', async () => {
  const work = ['a', 'b', 'c', 'd'].map((name) => queue.suspend(2, never, note(name)))
  await turn()
  expect(begun).toEqual(['a', 'b'])
  await clock.advance(HOUR - 1000)
  expect(begun).toEqual(['a', 'b'])
  await queue.suspend(null, never, note('unlimited'))
  await clock.advance(2000)
  expect(begun).toEqual(['a', 'b', 'unlimited', 'c'])
  await clock.advance(HOUR)
  await Promise.all(work)
  expect(begun).toEqual(['a', 'b', 'unlimited', 'c', 'd'])
})

test('none is suspended while one is resumed', async () => {
  let end: () => void = () => {}
  const resuming = queue.resume(null, never, () => new Promise<void>((resolve) => (end = resolve)))
  await turn()
  const suspending = queue.suspend(null, never, note('suspend'))
  void queue.resume(null, never, note('resume'))
  await clock.advance(60_000)
  expect(begun).toEqual(['resume'])
  end()
  await resuming
  await clock.advance(1000)
  await suspending
  expect(begun).toEqual(['resume', 'suspend'])
})

test('whoever waits can be cancelled, and one that failed lets the others on', async () => {
  await expect(queue.resume(null, never, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  await queue.suspend(1, never, note('first'))
  const abort = new AbortController()
  const waiting = queue.suspend(1, abort.signal, note('second'))
  waiting.catch(() => {})
  await clock.advance(1000)
  abort.abort()
  await clock.advance(1000)
  await expect(waiting).rejects.toMatchObject({ code: 'INTERRUPTED' })
  expect(begun).toEqual(['first'])
})

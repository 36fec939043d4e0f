import { beforeEach, expect, test } from 'vitest'
import { Wakefulness } from '../../../../src/engine/nbd/wakefulness.js'

const MICROSECOND = 0.001
const TURN_MICROSECONDS = 2

let microseconds: number
let turns: (() => void)[]
let wakefulness: Wakefulness

beforeEach(() => {
  microseconds = 1e6
  turns = []
  wakefulness = new Wakefulness({ monotonic: () => microseconds * MICROSECOND }, (callback) => turns.push(callback))
})

function request(): void {
  wakefulness.received()
  microseconds += 5
  wakefulness.answered()
}

/** Turns of the event loop until it would sleep. */
function turnsAwake(most = 1000): number {
  let count = 0
  for (; turns.length > 0 && count < most; count++) {
    microseconds += TURN_MICROSECONDS
    expect(turns).toHaveLength(1)
    turns.shift()!()
  }
  return count
}

test('requests that leave time between them let the thread sleep', () => {
  for (let count = 0; count < 5; count++) {
    request()
    expect(turnsAwake()).toBe(0)
    microseconds += 60
  }
})

test('after a request that came at once the thread stays awake for the next, for 50 microseconds', () => {
  request()
  microseconds += 20
  request()
  expect(turnsAwake()).toBe(50 / TURN_MICROSECONDS)
  expect(turnsAwake()).toBe(0)
})

test('each request that comes while it is awake keeps it so, without a second loop', () => {
  request()
  for (let count = 0; count < 10; count++) {
    microseconds += 10
    request()
    expect(turnsAwake(10)).toBe(10)
  }
  expect(turnsAwake()).toBeLessThan(50 / TURN_MICROSECONDS)
})

test('a request that came late ends it', () => {
  request()
  request()
  turnsAwake()
  microseconds += 1000
  request()
  expect(turnsAwake()).toBe(0)
})

import { expect, test } from 'vitest'
import { followEvents } from '../../../src/cli/follow-events.js'
import type { EventDocument } from '../../../src/protocol/control/documents.js'

const START = '2026-11-20T03:00:00.000Z'
const event = (second: number, what: string): EventDocument => ({
  at: new Date(Date.parse(START) + second * 1000).toISOString(),
  what,
  why: null,
  who: 'engine',
  result: 'ok',
  vm: null,
  disk: null,
  cache: null,
})

test('every event comes once and in order, also those of the same time', async () => {
  const batches = [
    [event(2, 'c'), event(1, 'a')],
    [event(2, 'c'), event(2, 'd')],
    [event(2, 'd'), event(2, 'c'), event(3, 'e')],
    [],
  ]
  const first = batches.shift()!
  const asked: string[] = []
  const again = async (sinceAt: string) => {
    asked.push(sinceAt)
    return batches.shift() ?? null
  }
  const seen: string[] = []
  for await (const { what } of followEvents(first, START, again)) seen.push(what)
  expect(seen).toEqual(['a', 'c', 'd', 'e'])
  expect(asked).toEqual([event(2, '').at, event(2, '').at, event(3, '').at, event(3, '').at])
})

/** What the first requests to a disk say of its phase, made up and as real machines sent them. */
import { join } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { TrafficPhase } from '../../../../src/engine/disk/traffic-phase.js'
import { readTrace } from '../../../../src/trace/read-trace.js'
import { traceDirectory, tracesMissing } from '../../../support/traces.js'

const SECTOR = 512
const PAGE = 4096

interface Request {
  readonly offset: number
  readonly length: number
}

/** The phase after these requests, and how many of them were looked at. */
function settle(present: number, requests: Iterable<Request>): { wanted: number; seen: number } {
  const traffic = new TrafficPhase(present)
  let seen = 0
  for (const { offset, length } of requests) {
    seen++
    if (traffic.note(offset, length)) break
  }
  return { wanted: traffic.wanted, seen }
}

function* pages(sector: number, count: number, length = PAGE): Generator<Request> {
  for (let page = 0; page < count; page++) yield { offset: page * PAGE + sector * SECTOR, length }
}

describe('TrafficPhase', () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7])('finds the grid of a guest whose file system begins at sector %d', (sector) => {
    const { wanted, seen } = settle(0, pages(sector, 2000))
    expect((sector + wanted) % 8).toBe(0)
    expect(seen).toBe(1000)
  })

  it('looks at requests of several pages too, wherever on the largest disk', () => {
    const far = { offset: 2 ** 44 - 2 * PAGE + 7 * SECTOR, length: PAGE }
    const requests = Array.from({ length: 1000 }, (_, index) => (index % 2 === 0 ? far : { ...far, length: 64 * PAGE }))
    requests.forEach((request, index) => (requests[index] = { ...request, offset: request.offset - index * PAGE }))
    expect(settle(0, requests).wanted).toBe(1)
  })

  it('keeps the present phase where nine in ten do not lie on another one', () => {
    expect(settle(0, [...pages(0, 101), ...pages(7, 899)]).wanted).toBe(0)
    expect(settle(3, [...pages(0, 101), ...pages(7, 899)]).wanted).toBe(3)
    expect(settle(0, [...pages(0, 100), ...pages(7, 900)]).wanted).toBe(1)
  })

  it('keeps it where the requests lie on it', () => {
    expect(settle(1, pages(7, 1000)).wanted).toBe(1)
  })

  it('does not count requests that are no whole pages', () => {
    const parts = Array.from({ length: 5000 }, (_, index) => ({ offset: index * SECTOR, length: SECTOR }))
    expect(settle(0, [...parts, ...pages(7, 1000)])).toEqual({ wanted: 1, seen: 6000 })
  })

  it('keeps the phase of a disk that is no longer new when a thousand whole pages have been asked for', () => {
    const parts = Array.from({ length: 9001 }, (_, index) => ({ offset: index * SECTOR, length: SECTOR }))
    expect(settle(0, [...parts, ...pages(7, 1000)])).toEqual({ wanted: 0, seen: 10_000 })
  })

  it('says nothing before it has seen enough', () => {
    expect(settle(0, pages(7, 999)).wanted).toBe(0)
  })
})

/** Two of these machines have their file system at sector 63, or another one that is 7 beyond a page. */
test.for([
  ['cp-sample', 1],
  ['msr-web1', 1],
  ['arc-p3', 0],
  ['hp-ajw', 0],
  ['lsvd-ubuntu', 0],
  ['ms-dtrs', 0],
  ['msr-rsrch1', 0],
] as const)('the phase of %s is %d', async ([trace, phase], { skip }) => {
  skip(tracesMissing !== undefined, tracesMissing)
  const traffic = new TrafficPhase(0)
  for await (const requests of readTrace(join(traceDirectory, `${trace}.csv.gz`))) {
    if (requests.some(({ offset, length }) => traffic.note(offset, length))) break
  }
  expect(traffic.wanted).toBe(phase)
})

import { describe, expect, it } from 'vitest'
import { Demand } from '../../../../src/engine/pool/demand.js'

const SECOND = 1000
const use = (requests: number, returns: number | undefined, chunks = 10) => ({ requests, returns, chunks })

describe('what more room would bring a disk', () => {
  it('is not known before it was seen twice, nor with a replacement that does not tell', () => {
    const demand = new Demand(0)
    demand.note(use(10, 5), 30 * SECOND)
    expect(demand.gain).toBeUndefined()
    demand.note(use(20, undefined), 60 * SECOND)
    expect(demand.gain).toBeUndefined()
  })

  it('is what came back, a second, spread over as much room as there is', () => {
    const demand = new Demand(0)
    demand.note(use(0, 0), 0)
    demand.note(use(9000, 3000), 30 * SECOND)
    expect(demand.gain).toBeCloseTo(10)
    // Half of it is forgotten after a minute.
    demand.note(use(9000, 3000), 90 * SECOND)
    expect(demand.gain).toBeCloseTo(5)
  })

  it('begins anew where it is counted from 0 again', () => {
    const demand = new Demand(0)
    demand.note(use(0, 100), 0)
    demand.note(use(0, 200), SECOND)
    demand.note(use(0, 10), 2 * SECOND)
    expect(demand.gain).toBeUndefined()
  })

  it('is none while nobody wants anything for ten minutes', () => {
    const demand = new Demand(0)
    demand.note(use(1, 0), SECOND)
    demand.note(use(2, 0), 2 * SECOND)
    expect(demand.isIdle(600 * SECOND)).toBe(false)
    expect(demand.isIdle(603 * SECOND)).toBe(true)
    demand.note(use(3, 0), 604 * SECOND)
    expect(demand.isIdle(605 * SECOND)).toBe(false)
  })
})

import { describe, expect, it } from 'vitest'
import { CopyBudget } from '../../../../src/engine/replacement/copy-budget.js'

/** Part of all reclaimed slots that is copied by a policy that copies whenever it may. */
function copiedPart(livePages: number, chunkPages = 100, chunks = 1000): number {
  const budget = new CopyBudget(6400)
  let copies = 0
  for (let chunk = 0; chunk < chunks; chunk++) {
    budget.reclaiming(livePages, chunkPages)
    for (let page = 0; page < livePages; page++) {
      budget.earn()
      if (budget.scarcity === 3) continue
      budget.spend()
      copies++
    }
  }
  return copies / (chunks * chunkPages)
}

describe('CopyBudget', () => {
  it('lets 55 of 100 slots be copies, live or not', () => {
    expect(copiedPart(100)).toBeCloseTo(0.55, 1)
    expect(copiedPart(70)).toBeCloseTo(0.55, 1)
    expect(copiedPart(40)).toBe(0.4)
  })

  it('bounds the copies of a log that does not say how many slots are dead', () => {
    const budget = new CopyBudget(6400)
    let copies = 0
    for (let page = 0; page < 100_000; page++) {
      budget.earn()
      if (budget.scarcity < 3) {
        budget.spend()
        copies++
      }
    }
    expect(copies / 100_000).toBeCloseTo(0.55, 1)
    expect(budget.roomy).toBe(false)
  })

  it('becomes scarce step by step, and recovers', () => {
    const budget = new CopyBudget(1000)
    const seen: number[] = []
    for (let copies = 0; copies < 100; copies++) {
      if (seen.at(-1) !== budget.scarcity) seen.push(budget.scarcity)
      budget.spend()
    }
    seen.push(budget.scarcity)
    expect(seen).toEqual([0, 1, 2, 3])
    for (let page = 0; page < 1000; page++) budget.earn()
    expect(budget.scarcity).toBe(0)
  })

  it('calls a log roomy when its oldest chunks are mostly dead, and not for one such chunk', () => {
    const budget = new CopyBudget(6400)
    budget.reclaiming(10, 100)
    expect(budget.roomy).toBe(false)
    for (let chunk = 0; chunk < 64; chunk++) budget.reclaiming(40, 100)
    expect(budget.roomy).toBe(true)
    for (let chunk = 0; chunk < 64; chunk++) budget.reclaiming(90, 100)
    expect(budget.roomy).toBe(false)
  })
})

import { describe, expect, it } from 'vitest'
import { BudgetedReplacement } from '../../../../src/engine/replacement/budgeted-replacement.js'

/** Keeps whatever it may. */
class Greedy extends BudgetedReplacement {
  inserted(): number {
    return 1
  }
  hit(heat: number): number {
    return heat
  }
  protected kept(heat: number): number {
    return heat
  }
}

/** How many of 20 chunks' 2000 pages it keeps. */
function kept(policy: Greedy, isMove: boolean): number {
  let count = 0
  for (let page = 0; page < 2000; page++) {
    if (page % 100 === 0) policy.reclaiming(100, 100, isMove)
    if (policy.reclaimed(page, 1) !== -1) count++
  }
  return count
}

describe('BudgetedReplacement', () => {
  it('keeps all that is worth it while a device is emptied, and spends nothing on that', () => {
    const policy = new Greedy(1000)
    const bounded = kept(policy, false)
    expect(bounded).toBeLessThan(1300)
    expect(kept(policy, true)).toBe(2000)
    expect(kept(policy, false)).toBeLessThan(1300)
    const other = new Greedy(1000)
    kept(other, true)
    expect(kept(other, false)).toBe(bounded)
  })
})

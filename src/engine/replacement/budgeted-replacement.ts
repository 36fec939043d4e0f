import { CopyBudget } from './copy-budget.js'
import type { LaidReplacement } from './replacement.js'

/** A laid form whose copies a {@link CopyBudget} bounds. */
export abstract class BudgetedReplacement implements LaidReplacement {
  protected readonly budget: CopyBudget
  /** Copies cost nothing now. */
  #isMove = false

  constructor(capacityPages: number) {
    this.budget = new CopyBudget(capacityPages)
  }

  abstract inserted(page: number): number
  abstract hit(heat: number): number

  reclaiming(livePages: number, chunkPages: number, isMove = false): void {
    this.#isMove = isMove
    this.budget.reclaiming(livePages, chunkPages)
  }

  reclaimed(page: number, heat: number): number {
    const { budget } = this
    budget.earn()
    const scarcity = this.#isMove ? 0 : budget.scarcity
    const kept = scarcity === 3 ? -1 : this.kept(heat, scarcity)
    if (kept === -1) this.dropped(page, heat)
    else if (!this.#isMove) budget.spend()
    return kept
  }

  resized(capacityPages: number): void {
    this.budget.resized(capacityPages)
  }

  /** The heat with which a page stays, or -1; the scarcer copies are, the hotter it must be. */
  protected abstract kept(heat: number, scarcity: 0 | 1 | 2): number

  /** A page leaves. */
  protected dropped(_page: number, _heat: number): void {}
}

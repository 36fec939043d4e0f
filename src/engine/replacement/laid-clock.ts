import { BudgetedReplacement } from './budgeted-replacement.js'

const USED = 1

/**
 * The log is the clock's circle and its oldest chunk the hand, so this is the algorithm itself: a page that was used since
 * it was written gets another lap. It is short of the exact form by the room of dead versions; while the log is roomy
 * every page gets another lap.
 */
export class LaidClock extends BudgetedReplacement {
  override inserted(): number {
    return 0
  }

  override hit(): number {
    return USED
  }

  protected override kept(heat: number): number {
    return heat === USED || this.budget.roomy ? 0 : -1
  }
}

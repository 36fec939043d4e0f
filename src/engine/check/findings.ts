/**
 * engine/check/: looks at a cache that no engine has open: superblocks, chunk headers, summaries, frames and every page of data. Writes
 * only what it is told to repair, and only what the next opening would do anyway or what is written twice.
 */
import { VmcacheError } from '../../base/errors.js'
import type { CheckFinding } from '../../protocol/control/cache-check.js'

/** What was found so far. */
export class Findings {
  readonly list: CheckFinding[] = []

  constructor(
    readonly repair: boolean,
    readonly signal: AbortSignal,
  ) {}

  /** Notes a finding; mends it by `mend` where that is given and wanted. */
  async add(finding: Omit<CheckFinding, 'repaired'>, mend?: () => Promise<unknown>): Promise<void> {
    const repaired = this.repair && mend !== undefined
    if (repaired) await mend()
    this.list.push({ ...finding, repaired })
  }

  /** Throws INTERRUPTED where the check was cancelled. */
  throwIfCancelled(): void {
    if (this.signal.aborted) throw new VmcacheError('INTERRUPTED', 'the check of the cache was cancelled')
  }
}

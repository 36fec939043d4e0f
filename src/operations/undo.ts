import { messageOf } from '../base/errors.js'
import { asVmcacheError } from './as-vmcache-error.js'

/** Notes how the step that was just done is taken back. */
export type Undo = (what: string, step: () => Promise<unknown>) => void

/**
 * Runs `work`; where it fails, takes back what it noted, last step first, and throws its error. A step that cannot be taken
 * back does not stop the others: the error's details name it in `leftBehind`.
 */
export async function withUndo<Result>(work: (undo: Undo) => Promise<Result>): Promise<Result> {
  const steps: { what: string; step: () => Promise<unknown> }[] = []
  try {
    return await work((what, step) => steps.push({ what, step }))
  } catch (error) {
    const leftBehind: string[] = []
    for (const { what, step } of steps.reverse()) {
      await step().catch((failure: unknown) => leftBehind.push(`${what}: ${messageOf(failure)}`))
    }
    const failure = asVmcacheError(error)
    if (leftBehind.length > 0) failure.details['leftBehind'] = leftBehind
    throw failure
  }
}

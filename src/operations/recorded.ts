import type { ErrorDocument, VmcacheError } from '../base/errors.js'
import type { ChangeResult, TargetResult } from '../protocol/control/documents.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { Journal } from './journal.js'
import type { OperationContext } from './operation.js'

type Change<Request, Result> = (request: Request, context: OperationContext) => Promise<Result>

interface Subject {
  readonly cache?: string | null
  readonly disk?: string | null
  readonly vm?: string | null
}

/** Names that fit nothing and mistakes on the command line touched nothing: they are no events. */
const UNEVENTFUL: readonly number[] = [2, 3]

/** The operation, with an event for what it changed or could not change. */
export function recorded<Request extends { dryRun: boolean }, Result extends ChangeResult>(
  journal: Journal,
  what: string,
  operation: Change<Request, Result>,
  subjectOf: (request: Request, result: Result | null) => Subject,
): Change<Request, Result> {
  return async (request, context) => {
    const { who } = context
    try {
      const result = await operation(request, context)
      if (result.changed && !request.dryRun) {
        await journal.record({ what, who, result: 'ok', ...subjectOf(request, result) })
      }
      return result
    } catch (error) {
      const failure = asVmcacheError(error)
      if (!request.dryRun && isEventful(failure)) {
        await journal.record({ what, who, ...failed(failure), ...subjectOf(request, null) })
      }
      throw error
    }
  }
}

/** The same for an operation on several disks, or VMs: an event for each. */
export function recordedForEach<Request extends { dryRun: boolean }, Result extends { results: TargetResult[] }>(
  journal: Journal,
  what: string,
  operation: Change<Request, Result>,
  kind: 'disk' | 'vm' = 'disk',
): Change<Request, Result> {
  return async (request, context) => {
    const result = await operation(request, context)
    if (request.dryRun) return result
    for (const { name, changed, error } of result.results) {
      const event = { what, who: context.who, [kind]: name }
      if (error !== null && isEventful(error)) await journal.record({ ...event, ...failed(error) })
      else if (changed) await journal.record({ ...event, result: 'ok' })
    }
    return result
  }
}

function isEventful({ exit }: ErrorDocument | VmcacheError): boolean {
  return !UNEVENTFUL.includes(exit)
}

function failed({ code, message }: ErrorDocument | VmcacheError): { result: string; why: string } {
  return { result: code, why: message }
}

import { VmcacheError } from '../base/errors.js'
import type { TargetResult, Targets } from '../protocol/control/documents.js'
import { asVmcacheError } from './as-vmcache-error.js'
import { diskNotFound } from './inventory.js'
import type { OperationContext } from './operation.js'

/** Targets that are worked on at a time. */
const AT_ONCE = 4

export interface Selection {
  /** Disks to work on, each once, in the order of their names. */
  readonly names: string[]
  /** Names without wildcard that fit nothing. */
  readonly unknown: string[]
}

/** What targets are. */
export interface TargetNoun {
  readonly what: string
  readonly notFound: (name: string) => VmcacheError
}

const DISKS: TargetNoun = { what: 'disk', notFound: diskNotFound }

/** Which of the names `existing` are meant. A wildcard or `all` that fits nothing is no mistake. */
export function select(targets: Targets, existing: readonly string[], { what }: TargetNoun = DISKS): Selection {
  if (targets.names.length === 0 && !targets.all) {
    throw new VmcacheError('USAGE', `no ${what} is named`, {
      hint: `name ${what}s, quoted patterns such as "web*", or --all`,
    })
  }
  const excluded = targets.exclude.map(matcher)
  const chosen = targets.all ? [() => true] : targets.names.map(matcher)
  const among = (matchers: readonly Matcher[], name: string) => matchers.some((matches) => matches(name))
  return {
    names: existing.filter((name) => among(chosen, name) && !among(excluded, name)).sort(),
    unknown: [...new Set(targets.names)].filter((name) => !isPattern(name) && !existing.includes(name)),
  }
}

type Matcher = (name: string) => boolean

export function isPattern(name: string): boolean {
  return /[*?]/.test(name)
}

/** Whether a name fits: `*` is any run of characters, "/" too; `?` is one. */
export function matcher(pattern: string): Matcher {
  if (!isPattern(pattern)) return (name) => name === pattern
  return (name) => fits(name, pattern)
}

/** Only ever goes back to the last `*`, so no pattern takes long. */
function fits(name: string, pattern: string): boolean {
  let at = 0
  let star = -1
  let resumeAt = 0
  for (let index = 0; index < name.length;) {
    if (pattern[at] === '*') {
      star = at++
      resumeAt = index
    } else if (pattern[at] === '?' || pattern[at] === name[index]) {
      at++
      index++
    } else if (star >= 0) {
      at = star + 1
      index = ++resumeAt
    } else {
      return false
    }
  }
  return /^\**$/.test(pattern.slice(at))
}

/** What an operation did, or would do, to one target. */
export interface TargetOutcome {
  readonly changed: boolean
  readonly steps: readonly string[]
}

export interface TargetsOutcome {
  changed: boolean
  dryRun?: boolean
  steps?: string[]
  results: TargetResult[]
}

/**
 * Does `work` to every selected target, a few at a time; one that fails does not stop the others. A name that fits nothing is a
 * failed result. Rejects with INTERRUPTED when the job was cancelled before all were done.
 */
export async function overTargets(
  targets: Targets & { readonly dryRun: boolean },
  existing: readonly string[],
  context: OperationContext,
  work: (name: string, context: OperationContext) => Promise<TargetOutcome>,
  noun: TargetNoun = DISKS,
  atOnce: number | null = AT_ONCE,
): Promise<TargetsOutcome> {
  const { names, unknown } = select(targets, existing, noun)
  const results = new Map<string, TargetResult>()
  const steps: string[] = []
  const failed = (name: string, error: VmcacheError): TargetResult => ({
    name,
    ok: false,
    changed: false,
    error: error.toDocument(),
  })
  // One target shows its own progress, several are counted.
  const inner = names.length === 1 ? context : { ...context, progress: () => {} }
  const queue = [...names]
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined && !context.signal.aborted; name = queue.shift()) {
      try {
        const outcome = await work(name, inner)
        results.set(name, { name, ok: true, changed: outcome.changed, error: null })
        steps.push(...outcome.steps)
      } catch (error) {
        results.set(name, failed(name, asVmcacheError(error)))
      }
      if (names.length > 1) context.progress(results.size, names.length, 'items', name)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce ?? AT_ONCE, names.length) }, worker))
  const done = names.filter((name) => results.get(name)?.ok)
  if (context.signal.aborted && done.length < names.length) {
    throw new VmcacheError('INTERRUPTED', `cancelled after ${done.length} of ${names.length} ${noun.what}s`, {
      hint: 'what was done stays done; give the command again for the rest',
      details: { done },
    })
  }
  const all = [...names.map((name) => results.get(name)!), ...unknown.map((name) => failed(name, noun.notFound(name)))]
  return {
    changed: all.some((result) => result.changed),
    ...(targets.dryRun ? { dryRun: true, steps } : {}),
    results: all,
  }
}

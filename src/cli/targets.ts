import { VmcacheError, type ErrorDocument } from '../base/errors.js'
import type { TargetResult, Targets } from '../protocol/control/documents.js'

/**
 * What names, `--all` and `--exclude` choose. USAGE where nothing is named, or both names and `--all`, or `--exclude`
 * without globs.
 */
export function chosenTargets(
  names: readonly string[] | undefined,
  flags: { readonly all: boolean; readonly exclude?: readonly string[] | undefined },
  noun: string,
): Targets {
  const chosen = { names: [...(names ?? [])], all: flags.all, exclude: [...(flags.exclude ?? [])] }
  if (chosen.names.length === 0 && !chosen.all) {
    throw new VmcacheError('USAGE', `which ${noun}? name it, or give --all`, {
      hint: `vmcache ${noun} list shows what there is`,
      details: { missing: [noun.toUpperCase()] },
    })
  }
  if (chosen.names.length > 0 && chosen.all) {
    throw new VmcacheError('USAGE', `names and --all do not go together: ${chosen.names.join(', ')}`)
  }
  return chosen
}

/**
 * The error of a command with several targets: null where all went well, the code of the targets where all failed alike,
 * PARTIAL otherwise.
 */
export function errorOfTargets(results: readonly TargetResult[]): VmcacheError | null {
  const errors = results.flatMap(({ error }) => (error === null ? [] : [error]))
  const [first] = errors
  if (first === undefined) return null
  if (results.length === 1) return VmcacheError.fromDocument(first)
  const failed = `${errors.length} of ${results.length} failed`
  const details = { failed: results.filter(({ ok }) => !ok).map(({ name }) => name) }
  const alike = errors.length === results.length && errors.every((error: ErrorDocument) => error.exit === first.exit)
  return new VmcacheError(alike ? VmcacheError.fromDocument(first).code : 'PARTIAL', failed, { details })
}

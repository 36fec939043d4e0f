import type { TargetResult } from '../../protocol/control/documents.js'

/** What became of the targets that went well: `web01 flushed`. */
export function targetsText(results: readonly TargetResult[], done: string): string {
  if (results.length === 0) return 'nothing fits: nothing was done'
  return results
    .filter(({ ok }) => ok)
    .map(({ name, changed }) => (changed ? `${name} ${done}` : `${name} unchanged`))
    .join('\n')
}

import type { DoctorCheck } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { count, state } from './text.js'

const ORDER = ['failure', 'warning', 'skipped', 'ok']

/** `vmcache doctor`: what is wrong first, with what mends it; what is well in one line each. */
export function doctorText(checks: readonly DoctorCheck[], { paint }: Screen): string {
  const sorted = [...checks].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state))
  const width = Math.max(0, ...checks.map((check) => check.state.length))
  const lines = sorted.map((check) => {
    const begin = `${state(check.state, paint)}${' '.repeat(width - check.state.length)}  ${check.id} (${check.object})`
    if (check.state === 'ok') return `${begin}: ${check.seen}`
    const mend = check.mend === null ? '' : `\n${' '.repeat(width + 2)}${check.mend}`
    return `${begin}: ${check.seen}, expected ${check.expected}${mend}`
  })
  const failures = checks.filter((check) => check.state === 'failure').length
  const warnings = checks.filter((check) => check.state === 'warning').length
  return [
    ...lines,
    `${count(checks.length, 'check')}, ${count(failures, 'failure')}, ${count(warnings, 'warning')}`,
  ].join('\n')
}

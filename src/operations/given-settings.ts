import { VmcacheError } from '../base/errors.js'
import { isMode, MODES, type Mode } from '../model/mode.js'
import type { Policy } from '../model/policy.js'
import type { GivenSettings } from '../protocol/control/documents.js'

/** The settings that a request names, each for itself. USAGE for a mode that is not known. */
export function givenSettings({ mode, writeBack = {}, ...settings }: GivenSettings): Policy {
  const { order, barrier, ...limits } = writeBack
  const named = {
    ...settings,
    ...limits,
    mode: mode === undefined ? undefined : checkedMode(mode),
    destageOrder: order,
    destageBarrier: barrier,
  }
  return Object.fromEntries(Object.entries(named).filter(([, value]) => value !== undefined))
}

function checkedMode(mode: string): Mode {
  if (isMode(mode)) return mode
  throw new VmcacheError('USAGE', `mode ${JSON.stringify(mode)} is not known`, { hint: `use ${MODES.join(', ')}` })
}

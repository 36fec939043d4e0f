import type { ChangeResult, TargetResult } from '../protocol/control/documents.js'
import { targetFlags, targetsArgument } from './flags.js'

/** The arguments and flags of a command about VMs, and what it returns. */
export const vmArguments = { vm: targetsArgument('Names, UUIDs or quoted globs of VMs.') }
export const vmFlags = targetFlags
export type VmResults = ChangeResult & { results: TargetResult[] }

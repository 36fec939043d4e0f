import { string } from '@oclif/core/flags'
import type { Level } from '../model/policy.js'
import { missing } from './missing.js'

/** Of what a policy is. The host is named by the flag that all commands have. */
export const policyTargetFlags = {
  disk: string({ summary: 'Name of the disk.', helpValue: 'DISK', exclusive: ['vm', 'cache'] }),
  vm: string({
    summary: 'Name or UUID of the VM: what is wanted of it, and of its disks.',
    helpValue: 'VM',
    exclusive: ['cache'],
  }),
  cache: string({ summary: 'Name of the cache: what is wanted of its disks.', helpValue: 'CACHE' }),
}

export interface PolicyTarget {
  readonly level: Level
  readonly name: string
}

interface Parsed {
  readonly flags: {
    disk?: string | undefined
    vm?: string | undefined
    cache?: string | undefined
    host?: string | undefined
  }
  /** What was on the command line: a host that the environment names is the one to talk to, and nothing that a command is about. */
  readonly raw: readonly { type: string; flag?: string }[]
}

/** The disk, VM, cache or host that the command line names; null where it names none. */
export function policyTarget({ flags: { disk, vm, cache, host }, raw }: Parsed): PolicyTarget | null {
  if (disk !== undefined) return { level: 'disk', name: disk }
  if (vm !== undefined) return { level: 'vm', name: vm }
  if (cache !== undefined) return { level: 'cache', name: cache }
  const isGiven = raw.some(({ type, flag }) => type === 'flag' && flag === 'host')
  return host === undefined || !isGiven ? null : { level: 'host', name: host }
}

/** The same where one must be named. */
export function requiredPolicyTarget(command: string, parsed: Parsed): PolicyTarget {
  const target = policyTarget(parsed)
  if (target === null) throw missing(command, [TARGET_FLAGS])
  return target
}

export const TARGET_FLAGS = '--disk, --vm, --cache or --host'
/** The operation that changes what is set at a level. */
export const SET_OPERATIONS = { disk: 'disk.set', vm: 'vm.set', cache: 'cache.set', host: 'host.set' } as const

import { VmcacheError } from '../base/errors.js'
import { changePolicy } from './change-policy.js'
import type { ControlPlane } from './control-plane.js'
import { givenSettings } from './given-settings.js'
import type { Operations } from './operation.js'
import { HOST_OBJECT } from './policies.js'

/** Changes what is set of this host, for its disks and VMs. */
export function hostSet(plane: ControlPlane): Operations['host.set'] {
  return async ({ name, unset = [], dryRun, ...settings }, context) => {
    refuseOtherHost(plane, name)
    const target = { level: 'host', object: HOST_OBJECT, name: plane.host.name } as const
    const result = await changePolicy(plane, target, { set: givenSettings(settings), unset, dryRun }, context)
    return { ...result, host: plane.host.name }
  }
}

/** An engine knows the policy of its own host, by name or id. */
export function refuseOtherHost({ host }: ControlPlane, name: string): void {
  if (name === host.name || name === host.id) return
  throw new VmcacheError('HOST_NOT_FOUND', `host ${name} is not known: this host is ${host.name}`, {
    hint: 'run the command on that host',
    details: { seen: name, expected: host.name },
  })
}

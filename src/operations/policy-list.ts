import { LEVELS } from '../model/policy.js'
import type { SetPolicyDocument } from '../protocol/control/documents.js'
import type { PolicyRecord } from '../state/policy-store.js'
import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'
import { policyDocument } from './policy-document.js'

/** What is set anywhere on this host: of itself first, then of caches, VMs and disks. */
export function policyList(plane: ControlPlane): Operations['policy.list'] {
  return async () => {
    const policies = [...plane.inventory.policies.values()].map((record) => shown(plane, record))
    const rank = ({ level }: SetPolicyDocument): number => -LEVELS.indexOf(level)
    return { policies: policies.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1)) }
  }
}

export function policyShow(plane: ControlPlane): Operations['policy.show'] {
  return ({ level, name }) => policyDocument(plane, level, name)
}

function shown({ host, inventory }: ControlPlane, { level, object, policy }: PolicyRecord): SetPolicyDocument {
  const names = { host: () => host.name, vm: () => inventory.vms.get(object)?.name ?? object }
  const name = level === 'host' || level === 'vm' ? names[level]() : object
  return { level, name, settings: policy }
}

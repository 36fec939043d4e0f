import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import { findLease, leaseDocuments } from './lease-document.js'
import type { Operations } from './operation.js'

/** Every lease that the state database has, also of other hosts that share it, and those that were given back. */
export function leaseList(plane: ControlPlane): Operations['lease.list'] {
  return async () => ({ leases: await leaseDocuments(plane, await plane.state.leases.list(null)) })
}

/** Who may write one origin, by its stamp too. */
export function leaseShow(plane: ControlPlane): Operations['lease.show'] {
  return async ({ origin }) => {
    const { document, seen } = await findLease(plane, origin)
    if (document !== null) return document
    throw new VmcacheError('NOT_FOUND', `nobody ever held a lease of origin ${seen.uri}`, {
      hint: 'see: vmcache lease list',
    })
  }
}

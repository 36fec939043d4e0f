import { VmcacheError } from '../base/errors.js'
import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'

export function eventList({ journal }: ControlPlane): Operations['event.list'] {
  return async ({ sinceAt, vm, disk }) => {
    const since = sinceAt === null ? null : new Date(sinceAt)
    if (since !== null && Number.isNaN(since.getTime())) {
      throw new VmcacheError('BAD_REQUEST', `sinceAt is ${JSON.stringify(sinceAt)}, expected a time of RFC 3339`)
    }
    return { events: await journal.list({ sinceAt: since?.toISOString() ?? null, vm, disk }) }
  }
}

import type { CacheDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'

/** Why a disk cannot have a log in a cache now, and what mends it. */
export interface Closed {
  readonly reason: string
  readonly mend: string
}

/** Null where the cache is open on at least one device. */
export function whyClosed({ engine, inventory }: ControlPlane, name: string): Closed | null {
  const open = engine.caches().find((cache) => cache.name === name)
  if (open === undefined) return inventory.cacheTroubles.get(name) ?? BEING_OPENED
  return open.state === 'failed' ? { reason: badDevices(open), mend: mendDevices(open) } : null
}

const BEING_OPENED: Closed = { reason: 'it is being opened', mend: 'see: vmcache status' }

type Devices = Pick<CacheDocument, 'name' | 'devices'>

/** What is wrong with the devices of an open cache. */
export function badDevices({ devices }: Devices): string {
  const bad = devices.filter(({ state }) => state !== 'ok')
  return bad
    .map(({ path, state, errors }) =>
      state === 'missing' ? `${path} is missing` : `${path} failed (errors: ${errors})`,
    )
    .join(', ')
}

/** What to do about them. A device that was used once and failed is only trusted again by the next engine. */
export function mendDevices({ name, devices }: Devices): string {
  const bad = devices.filter(({ state }) => state !== 'ok').map(({ path }) => path)
  return `mend or reconnect ${bad.join(', ')}, then: vmcache engine restart; or: vmcache device replace ${name} ${bad[0]} NEW`
}

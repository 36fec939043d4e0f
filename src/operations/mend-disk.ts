import type { DiskDocument } from '../protocol/control/documents.js'
import type { ControlPlane } from './control-plane.js'
import { whyClosed } from './why-closed.js'

/** What to do about a disk that is not served as it should be. */
export function mendDisk(plane: ControlPlane, { disk, cache, state }: DiskDocument): string {
  const known = plane.inventory.diskTroubles.get(disk)?.mend
  if (known !== undefined) return known
  if (state === 'failed')
    return `vmcache engine restart; where that does not help: vmcache disk resolve ${disk} --keep cache|origin`
  const closed = state === 'direct' ? whyClosed(plane, cache) : null
  return closed?.mend ?? `vmcache disk show ${disk}`
}

/** What to do where cached pages did not have their checksum: the disk is whole, its cache device loses data. */
export function mendBadPages({ cache }: DiskDocument): string {
  return `look at the health of the devices (smartctl -a): vmcache cache show ${cache}`
}

/** What to do where dirty pages are gone: nobody has them any more, but whoever writes them again. */
export function mendLostPages({ cache }: DiskDocument): string {
  return `restore what the guest misses, and look at the devices (smartctl -a): vmcache cache show ${cache}`
}

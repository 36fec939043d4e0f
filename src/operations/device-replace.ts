import { VmcacheError } from '../base/errors.js'
import { cacheDocument } from './cache-document.js'
import { sharesBeside } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { addDevice, refuseUnopened } from './device-add.js'
import { namedDevice, removalSteps, removeDevice } from './device-remove.js'
import { exclusively, knownCache } from './inventory.js'
import type { Operations } from './operation.js'
import { checkRemainingSpace } from './promised-space.js'
import { realPath } from './real-path.js'

/**
 * Gives a cache a device and then takes another one from it. A replacement that was interrupted between the two is finished by the same
 * request.
 */
export function deviceReplace(plane: ControlPlane): Operations['device.replace'] {
  const { inventory } = plane
  return async ({ cache: name, device, by, force, dryRun }, context) => {
    knownCache(inventory, name)
    refuseUnopened(plane, name)
    if ((await realPath(device)) === (await realPath(by.path)))
      throw new VmcacheError('USAGE', `device ${device} cannot take its own place`)
    const old = await namedDevice(cacheDocument(plane, name), device)
    return exclusively(inventory, `cache ${name}`, async () => {
      const added = await addDevice(plane, { cache: name, device: by, force, dryRun }, context)
      const cache = cacheDocument(plane, name)
      if (dryRun) return { changed: true, dryRun, steps: [...added, ...removalSteps(cache, old)], cache }
      const others = cache.devices.filter(({ id, state }) => id !== old.id && state === 'ok')
      const left = others.reduce((sum, { chunks }) => sum + chunks, 0)
      checkRemainingSpace(cache, sharesBeside(inventory, name), left)
      await removeDevice(plane, name, old, context)
      return { changed: true, cache: cacheDocument(plane, name) }
    })
  }
}

import { isAbsolute } from 'node:path'
import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { MAXIMUM_DEVICES } from '../format/superblock.js'
import type { CacheDocument, DeviceSpecification } from '../protocol/control/documents.js'
import type { RequestOf } from '../protocol/control/routes.js'
import { refuseUsed } from './cache-create.js'
import { cacheDocument } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively, knownCache } from './inventory.js'
import { saveCache } from './open-cache.js'
import type { OperationContext, Operations } from './operation.js'
import { realPath } from './real-path.js'
import { refuseClosedCache } from './resume-disk.js'
import { stablePath } from './stable-path.js'

/** Gives an open cache another device, whose room its disks use at once. */
export function deviceAdd(plane: ControlPlane): Operations['device.add'] {
  return async (request, context) => {
    knownCache(plane.inventory, request.cache)
    refuseUnopened(plane, request.cache)
    const steps = await exclusively(plane.inventory, `cache ${request.cache}`, () => addDevice(plane, request, context))
    const changed = steps.length > 0
    const cache = cacheDocument(plane, request.cache)
    return request.dryRun ? { changed, dryRun: true, steps, cache } : { changed, cache }
  }
}

/** The same for who has the cache for itself. Returns what was done, or would be; nothing where the cache has the device. */
export async function addDevice(
  plane: ControlPlane,
  { cache: name, device: asked, force, dryRun }: RequestOf<'device.add'>,
  { progress, signal }: OperationContext,
): Promise<string[]> {
  const { engine } = plane
  const device = await checkedDevice(asked)
  const document = cacheDocument(plane, name)
  if (await has(document, device)) return []
  if (document.devices.length >= MAXIMUM_DEVICES)
    throw new VmcacheError('REFUSED', `cache ${name} has ${document.devices.length} devices, more are not possible`)
  await refuseUsed(plane, [device])
  const { steps } = await engine.addDevice(name, device, {
    force,
    dryRun,
    progress,
    signal,
    record: async ({ id, path, sizeBytes, chunks }) => {
      const record = knownCache(plane.inventory, name)
      await saveCache(plane, { ...record, devices: [...record.devices, { deviceId: id, path, sizeBytes, chunks }] })
    },
  })
  return [...steps, `write to the other devices of cache ${name} that it has another one`]
}

/** WRONG_STATE where no device of the cache is open. One of which all devices failed can be given another. */
export function refuseUnopened(plane: ControlPlane, name: string): void {
  if (!plane.engine.caches().some((cache) => cache.name === name)) refuseClosedCache(plane, name)
}

/** The device by its stable path. */
async function checkedDevice({ path, sizeBytes }: DeviceSpecification): Promise<DeviceSpecification> {
  if (!isAbsolute(path)) throw new VmcacheError('USAGE', `device ${path} is not an absolute path`)
  return { path: await stablePath(path), sizeBytes }
}

/** Whether the device is one of the cache; IN_USE where it is, with another size. */
async function has({ name, devices }: CacheDocument, { path, sizeBytes }: DeviceSpecification): Promise<boolean> {
  const wanted = await realPath(path)
  for (const device of devices) {
    if ((await realPath(device.path)) !== wanted) continue
    if (sizeBytes === null || sizeBytes === device.sizeBytes) return true
    throw new VmcacheError(
      'IN_USE',
      `device ${path} belongs to cache ${name} with ${formatSize(device.sizeBytes)}, asked for ${formatSize(sizeBytes)}`,
      { hint: `remove it first: vmcache device remove ${name} ${path}` },
    )
  }
  return false
}

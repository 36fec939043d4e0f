import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { CacheDocument, DeviceDocument } from '../protocol/control/documents.js'
import { cacheDocument } from './cache-document.js'
import { sharesBeside } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { refuseUnopened } from './device-add.js'
import { drainDisk } from './drain-disk.js'
import { exclusively, knownCache } from './inventory.js'
import { saveCache } from './open-cache.js'
import type { OperationContext, Operations } from './operation.js'
import { checkRemainingSpace } from './promised-space.js'
import { realPath } from './real-path.js'

/** Takes a device from a cache whose disks go on: what origins lack of what is there is written to them first. */
export function deviceRemove(plane: ControlPlane): Operations['device.remove'] {
  const { inventory } = plane
  return async ({ cache: name, device: asked, dryRun }, context) => {
    knownCache(inventory, name)
    refuseUnopened(plane, name)
    const document = cacheDocument(plane, name)
    const device = await namedDevice(document, asked)
    refuseWithout(plane, document, device)
    if (dryRun) return { changed: true, dryRun, steps: removalSteps(document, device), cache: document }
    await exclusively(inventory, `cache ${name}`, () => removeDevice(plane, name, device, context))
    return { changed: true, cache: cacheDocument(plane, name) }
  }
}

/** The same for who has the cache for itself and has checked that it can do without the device. */
export async function removeDevice(
  plane: ControlPlane,
  name: string,
  { id, path }: DeviceDocument,
  { progress, signal }: OperationContext,
): Promise<void> {
  const { engine, inventory } = plane
  await engine.removeDevice(name, id, {
    progress,
    signal,
    flush: (disk) =>
      exclusively(inventory, `disk ${disk}`, () =>
        // What is shown is how much of the device is done.
        drainDisk(plane, disk, { progress: () => undefined, signal }, `keep device ${path}`, (draining) =>
          engine.flush(disk, draining),
        ),
      ),
    record: async () => {
      const record = knownCache(inventory, name)
      await saveCache(plane, { ...record, devices: record.devices.filter(({ deviceId }) => deviceId !== id) })
    },
  })
}

/** The device of a cache with that path or id. */
export async function namedDevice({ name, devices }: CacheDocument, asked: string): Promise<DeviceDocument> {
  const real = await realPath(asked)
  for (const device of devices)
    if (device.id === asked || device.path === asked || (await realPath(device.path)) === real) return device
  throw new VmcacheError('DEVICE_NOT_FOUND', `cache ${name} has no device ${asked}`, {
    hint: `it has ${devices.map(({ path }) => path).join(', ')}`,
  })
}

function refuseWithout({ inventory }: ControlPlane, cache: CacheDocument, device: DeviceDocument): void {
  const others = cache.devices.filter(({ id, state }) => id !== device.id && state === 'ok')
  if (others.length === 0) {
    throw new VmcacheError('REFUSED', `device ${device.path} is the last one of cache ${cache.name} that works`, {
      hint: `vmcache device replace ${cache.name} ${device.path} NEW, or: vmcache cache delete ${cache.name}`,
    })
  }
  const left = others.reduce((sum, { chunks }) => sum + chunks, 0)
  checkRemainingSpace(cache, sharesBeside(inventory, cache.name), left)
}

export function removalSteps(
  { name, disks, dirtyBytes, chunkSizeBytes }: CacheDocument,
  device: DeviceDocument,
): string[] {
  const { path, chunks, state } = device
  if (state !== 'ok') return [`forget device ${path} of cache ${name}`]
  return [
    ...(dirtyBytes === 0
      ? []
      : [`write what the origins of ${disks.join(', ')} lack to them: at most ${formatSize(dirtyBytes)}`]),
    `move or drop what is cached in ${chunks} chunks (${formatSize(chunks * chunkSizeBytes)}) of ${path}`,
    `write to the other devices of cache ${name} that it has one less`,
    `erase ${path}`,
  ]
}

import { isAbsolute } from 'node:path'
import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { MINIMUM_SHARE_CHUNKS } from '../model/geometry.js'
import { checkedCacheName } from '../model/names.js'
import type { CreateCacheRequest, DeviceSpecification } from '../protocol/control/documents.js'
import type { CacheRecord } from '../state/cache-store.js'
import { cacheDocument } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import { exclusively } from './inventory.js'
import { checkGeometry } from './limits.js'
import { cacheRecord, saveCache } from './open-cache.js'
import type { Operations } from './operation.js'
import { realPath } from './real-path.js'
import { stablePath } from './stable-path.js'
import { withUndo } from './undo.js'

/** Makes empty devices into a cache and opens it. */
export function cacheCreate(plane: ControlPlane): Operations['cache.create'] {
  return async (request, context) => {
    const { engine, inventory, clock } = plane
    const name = checkedCacheName(request.name)
    checkGeometry(request.blockSizeBytes, request.chunkSizeBytes)
    const devices = await checkedDevices(request)
    const existing = inventory.caches.get(name)
    if (existing !== undefined) {
      refuseDifference(existing, { ...request, devices })
      const changed = request.dryRun ? { changed: false, dryRun: true, steps: [] } : { changed: false }
      return { ...changed, cache: cacheDocument(plane, name) }
    }
    await refuseUsed(plane, devices)

    return exclusively(inventory, `cache ${name}`, () =>
      withUndo(async (undo) => {
        const settings = { name, blockBytes: request.blockSizeBytes, chunkBytes: request.chunkSizeBytes, devices }
        const { cacheId, steps } = await engine.createCache(settings, { ...request, ...context })
        if (request.dryRun) {
          const all = [...steps, `open cache ${name}`, 'record it in the state database']
          return { changed: true, dryRun: true, steps: all, cache: null }
        }
        const opened = await engine.openCache(
          { name, devices: devices.map(({ path }) => path) },
          { allowMissing: false },
        )
        undo(`erase the devices of cache ${name}`, () => engine.eraseCache(name))
        await saveCache(plane, cacheRecord(plane, opened, cacheId, new Date(clock.now()).toISOString()))
        return { changed: true, cache: cacheDocument(plane, name) }
      }),
    )
  }
}

/** The devices by their stable paths. */
async function checkedDevices({ devices, chunkSizeBytes }: CreateCacheRequest): Promise<DeviceSpecification[]> {
  if (devices.length === 0) {
    throw new VmcacheError('USAGE', 'no device is given', { hint: 'give one: --device /dev/nvme1n1' })
  }
  for (const { path, sizeBytes } of devices) {
    if (!isAbsolute(path)) throw new VmcacheError('USAGE', `device ${path} is not an absolute path`)
    if (sizeBytes !== null && !(Number.isSafeInteger(sizeBytes) && sizeBytes > chunkSizeBytes)) {
      throw new VmcacheError(
        'BAD_SIZE',
        `device ${path}: a size of ${formatSize(sizeBytes)} does not hold a chunk of ${formatSize(chunkSizeBytes)}`,
      )
    }
  }
  const total = devices.reduce((sum, { sizeBytes }) => sum + Math.floor((sizeBytes ?? Infinity) / chunkSizeBytes), 0)
  if (total < MINIMUM_SHARE_CHUNKS) {
    throw new VmcacheError(
      'BAD_SIZE',
      `the devices hold ${total} chunks of ${formatSize(chunkSizeBytes)}, a disk needs at least ${MINIMUM_SHARE_CHUNKS}`,
      { hint: 'give larger devices, or a smaller --chunk-size' },
    )
  }
  const stable = await Promise.all(
    devices.map(async ({ path, sizeBytes }) => ({ path: await stablePath(path), sizeBytes })),
  )
  const real = await Promise.all(stable.map(({ path }) => realPath(path)))
  const twice = real.find((path, index) => real.indexOf(path) !== index)
  if (twice !== undefined) throw new VmcacheError('USAGE', `device ${twice} is given twice`)
  return stable
}

/** The cache exists: it must be what is asked for. */
function refuseDifference(existing: CacheRecord, asked: CreateCacheRequest): void {
  const paths = (devices: readonly { path: string }[]) =>
    devices
      .map(({ path }) => path)
      .sort()
      .join(', ')
  const sizes = new Map(existing.devices.map(({ path, sizeBytes }) => [path, sizeBytes]))
  const settings: [what: string, is: string | number, wanted: string | number][] = [
    ['block size', existing.blockBytes, asked.blockSizeBytes],
    ['chunk size', existing.chunkBytes, asked.chunkSizeBytes],
    ['devices', paths(existing.devices), paths(asked.devices)],
    ...asked.devices.flatMap(({ path, sizeBytes }): [string, number, number][] =>
      sizeBytes === null ? [] : [[`size of ${path}`, sizes.get(path) ?? 0, sizeBytes]],
    ),
  ]
  const different = settings.find(([, is, wanted]) => is !== wanted)
  if (different === undefined) return
  const [what, is, wanted] = different
  throw new VmcacheError('CACHE_EXISTS', `cache ${existing.name} exists with ${what} ${is}, asked for ${wanted}`, {
    hint: `use another name, or see: vmcache cache show ${existing.name}`,
    details: { setting: what, is, wanted },
  })
}

/** No device may belong to another cache or be the origin of a disk. */
export async function refuseUsed({ inventory }: ControlPlane, devices: readonly DeviceSpecification[]): Promise<void> {
  const users = new Map<string, string>()
  for (const disk of inventory.disks.values())
    users.set(await realPath(disk.origin), `is the origin of disk ${disk.name}`)
  for (const cache of inventory.caches.values()) {
    for (const { path } of cache.devices) users.set(await realPath(path), `belongs to cache ${cache.name}`)
  }
  for (const { path } of devices) {
    const use = users.get(await realPath(path))
    if (use !== undefined) throw new VmcacheError('IN_USE', `device ${path} ${use}`)
  }
}

import { access } from 'node:fs/promises'
import type { Clock } from '../base/clock.js'
import { systemClock } from '../base/clock.js'
import { VmcacheError } from '../base/errors.js'
import { lockImage } from '../base/image-lock.js'
import { systemRandom } from '../base/random.js'
import { bootId } from '../base/system-calls.js'
import { recoverCache, type DirtyDisk, type OriginRight, type RecoverOptions } from '../engine/recover/recover-cache.js'
import type { Configuration } from '../model/configuration.js'
import { originOfLease } from '../operations/lease.js'
import { createOriginObserver } from '../operations/observe-origin.js'
import { foundTenure, whyChanged } from '../operations/origin-tenure.js'
import { createStampFiles } from '../operations/stamp.js'
import type { CacheRecoverDocument } from '../protocol/control/cache-recover.js'
import { openState } from '../state/open-state.js'
import type { StateImage, StateStore } from '../state/state-store.js'
import { hostId } from './host-id.js'
import { lockInstance } from './instance-lock.js'
import { loadConfiguration, type ConfigurationOptions } from './load-configuration.js'
import { statePassword } from './state-password.js'
import { previousEnd, tenureFile } from './tenure.js'

export interface RecoverRequest extends Pick<RecoverOptions, 'disk' | 'dryRun' | 'progress' | 'signal'> {
  /** Name of a cache that is recorded on this host; null where `devices` say which. */
  readonly cache: string | null
  readonly devices: readonly string[]
  readonly configuration: ConfigurationOptions
}

/** What the state database of this host says; null where there is none. */
interface Known {
  readonly state: StateStore
  readonly image: StateImage
}

/**
 * `cache recover`: writes what a cache holds to the origins, in this process, while no engine and no supervisor runs (IN_USE where one does).
 * Afterwards stamp and state database say that the origins have everything, so that libvirt and the next engine know.
 */
export async function recoverOffline(request: RecoverRequest): Promise<CacheRecoverDocument> {
  const clock = systemClock
  const { values } = await loadConfiguration(request.configuration)
  const stateDir = values['state-dir']
  for (const directory of [stateDir, values['run-dir']])
    if (await exists(directory)) await lockInstance(directory, clock)
  const host = (await exists(stateDir)) ? await hostId(stateDir, systemRandom) : null
  const known = host === null ? null : await openKnown(values, host)
  try {
    const paths = request.cache === null ? request.devices : devicesOf(known, request.cache)
    return await recoverCache(paths, {
      ...request,
      claim: (disk, maker) => claim(disk, { clock, host: host ?? maker, known, stateDir }),
    })
  } finally {
    await known?.state.close()
  }
}

function devicesOf(known: Known | null, name: string): string[] {
  const cache = known?.image.caches.find((each) => each.name === name)
  if (cache !== undefined) return cache.devices.map(({ path }) => path)
  throw new VmcacheError('CACHE_NOT_FOUND', `cache ${name} is not recorded on this host`, {
    hint: 'name its devices: vmcache cache recover --device PATH...',
  })
}

/** Nothing is made where nothing is. */
async function openKnown(values: Configuration, host: string): Promise<Known | null> {
  const url = values['state-url']
  const path = /^sqlite:(.+)$/.exec(url)?.[1]
  if (path !== undefined && !(await exists(path))) return null
  const state = await openState(url, await statePassword(values))
  return { state, image: await state.load(host) }
}

interface Circumstances {
  readonly clock: Clock
  readonly host: string
  readonly known: Known | null
  readonly stateDir: string
}

/** Keeps every QEMU of this host off the image, once this host may write it and nobody else has. */
async function claim(disk: DirtyDisk, { clock, host, known, stateDir }: Circumstances): Promise<OriginRight> {
  const stamps = createStampFiles(clock)
  const observe = createOriginObserver(clock)
  const seen = await observe(disk.origin)
  const stamp = seen.kind === 'file' ? await stamps.read(seen.uri) : null
  const record = known?.image.disks.find(({ logId }) => logId === disk.logId)
  const recorded = known?.image.tenures.find((each) => each.disk === record?.name)
  const key = record?.lease ?? null
  const lease = key === null ? null : await known!.state.leases.find(key)
  if (stamp !== null && stamp.hostId !== host) throw held(disk, `host ${stamp.hostName}`)
  if (lease !== null && lease.host !== null && lease.host !== host)
    throw held({ ...disk, origin: originOfLease(lease.origin) }, `host ${lease.host}`)
  const end = previousEnd(await tenureFile(stateDir).read(), { bootId: bootId(), supervisorId: '' })
  const tenure = recorded === undefined ? null : foundTenure(recorded, end)
  const changed = whyChanged({
    tenure,
    seen,
    stamp,
    isExclusive: record?.exclusive ?? false,
    epoch: lease?.epoch ?? stamp?.epoch ?? disk.epoch,
    log: disk,
    newestFrameAt: disk.newestFrameAt,
  })
  // Without a memory of the disk its stamp has to do: it is of this host, and of this life of the disk.
  const isStamped = tenure === null && stamp?.lacksWrites === true && stamp.epoch === disk.epoch
  if (changed !== null && !isStamped) throw originChanged(disk, changed)
  const lock = seen.kind === 'nbd' ? null : await lockImage(disk.origin)
  return {
    async complete() {
      if (stamp !== null && !(await stamps.write(seen.uri, { ...stamp, lacksWrites: false }))) {
        throw new VmcacheError(
          'DENIED',
          `the stamp of ${seen.uri} cannot be written: it still says that the image lacks writes`,
        )
      }
      if (tenure === null) return
      const { modifiedAt } = await observe(disk.origin)
      const endedAt = new Date(clock.now()).toISOString()
      await known!.state.tenures.save({ ...tenure, ending: 'clean', endedAt, modifiedAt, lacksWrites: false })
    },
    release: async () => lock?.release(),
  }
}

function held({ disk, origin }: DirtyDisk, holder: string): VmcacheError {
  return new VmcacheError(
    'LEASE_HELD',
    `origin ${origin} of disk ${disk} is held by ${holder}: this host may not write it`,
    {
      hint: `detach it there; or, if that host is gone for good, start an engine here and: vmcache lease take ${origin} --fenced`,
    },
  )
}

function originChanged({ disk, origin }: DirtyDisk, reason: string): VmcacheError {
  return new VmcacheError(
    'ORIGIN_CHANGED',
    `disk ${disk}: its origin ${origin} may not be as the cache left it: ${reason}`,
    {
      hint: `start an engine and decide: vmcache disk resolve ${disk} --keep cache|origin`,
    },
  )
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

import { stat } from 'node:fs/promises'
import { messageOf } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import type { CacheDocument, DiskDocument, DoctorCheck } from '../protocol/control/documents.js'
import { MEND_ENGINE } from './attention.js'
import { cacheDocuments } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocuments } from './disk-document.js'
import { mendBadPages, mendDisk } from './mend-disk.js'
import type { Operations } from './operation.js'
import { badDevices, mendDevices } from './why-closed.js'

/** Node.js that vmcache is tested with. */
const LEAST_NODE = [20, 19] as const
/** Calls to an origin that hangs keep threads of the pool: below this few disks stop all others. */
const LEAST_THREAD_POOL = 16
const FREE_BYTES_WARNING = 1024 ** 3
const FREE_BYTES_FAILURE = 64 * 1024 ** 2

type Verdict = Pick<DoctorCheck, 'state' | 'seen'> & { readonly mend?: string }

/** What is wrong on this machine, with the command that mends it. Changes nothing but the time at which this host was seen. */
export function doctor(plane: ControlPlane): Operations['doctor.run'] {
  return async () => {
    const caches = cacheDocuments(plane)
    const disks = await diskDocuments(plane)
    const checks = await Promise.all([
      engineCheck(plane),
      nodeCheck(plane),
      threadPoolCheck(plane),
      stateDatabaseCheck(plane),
      freeSpaceCheck(plane),
      runDirectoryCheck(plane),
      checkpointDirectoryCheck(plane),
      ...['vmcache', 'kvm'].map((group) => groupCheck(plane, group)),
      unitCheck(plane),
      ...caches.map((cache) => cacheCheck(plane, cache)),
      ...caches.flatMap((cache) => cache.devices.map((device) => deviceCheck(cache, device))),
      ...caches.flatMap((cache) => cache.devices.map(({ path }) => fileSystemCheck(plane, path, disks))),
      ...disks.map((disk) => diskCheck(plane, disk)),
      ...disks.map((disk) => originCheck(plane, disk)),
      ...disks.map((disk) => stampCheck(plane, disk)),
    ])
    return { checks: checks.filter((check) => check !== null) }
  }
}

/** One check; what it throws is a failure, seen as its message. */
async function check(
  id: string,
  object: string,
  expected: string,
  look: () => Promise<Verdict> | Verdict,
  mend: string | null = null,
): Promise<DoctorCheck> {
  const {
    state,
    seen,
    mend: better,
  } = await Promise.resolve()
    .then(look)
    .catch((error: unknown): Verdict => ({ state: 'failure', seen: messageOf(error) }))
  return { id, state, object, seen, expected, mend: state === 'ok' ? null : (better ?? mend) }
}

function engineCheck({ engine, machine, version, host, withoutCaches }: ControlPlane) {
  const seen = `version ${version}, process ${machine.processId}, ${engine.ioThreads} I/O threads (${engine.ioBackend})`
  return check(
    'engine',
    `host ${host.name}`,
    'an engine runs and uses the caches',
    () => ({
      state: withoutCaches === null ? 'ok' : 'failure',
      seen: withoutCaches === null ? seen : `${seen}, without caches: ${withoutCaches}`,
    }),
    MEND_ENGINE,
  )
}

function nodeCheck({ machine }: ControlPlane) {
  const [major = 0, minor = 0] = machine.nodeVersion.replace(/^v/, '').split('.').map(Number)
  const [leastMajor, leastMinor] = LEAST_NODE
  const isGood = major > leastMajor || (major === leastMajor && minor >= leastMinor)
  return check(
    'node-version',
    'Node.js',
    `${leastMajor}.${leastMinor} or newer`,
    () => ({ state: isGood ? 'ok' : 'failure', seen: machine.nodeVersion }),
    'install a newer Node.js, then: vmcache engine restart',
  )
}

function threadPoolCheck({ machine }: ControlPlane) {
  return check(
    'thread-pool',
    'UV_THREADPOOL_SIZE',
    `at least ${LEAST_THREAD_POOL}`,
    () => ({
      state: machine.threadPoolSize >= LEAST_THREAD_POOL ? 'ok' : 'warning',
      seen: String(machine.threadPoolSize),
    }),
    `set UV_THREADPOOL_SIZE to ${LEAST_THREAD_POOL} or more in the environment of the engine, then: vmcache engine restart`,
  )
}

function stateDatabaseCheck({ clock, host, state }: ControlPlane) {
  return check(
    'state-database',
    state.label,
    'can be read and written',
    async () => {
      await state.hosts.save({ ...host, seenAt: new Date(clock.now()).toISOString() })
      return { state: 'ok', seen: 'can be read and written' }
    },
    'bring the database back; disks are served meanwhile, nothing can be changed',
  )
}

function freeSpaceCheck({ machine, stateDirectory }: ControlPlane) {
  return check(
    'state-directory',
    stateDirectory,
    `at least ${formatSize(FREE_BYTES_WARNING)} free`,
    async () => {
      const free = await machine.freeBytes(stateDirectory)
      const state = free >= FREE_BYTES_WARNING ? 'ok' : free >= FREE_BYTES_FAILURE ? 'warning' : 'failure'
      return { state, seen: `${formatSize(free)} free` }
    },
    'free space on its file system',
  )
}

function runDirectoryCheck({ machine, runDirectory }: ControlPlane) {
  return check(
    'run-directory',
    runDirectory,
    'sockets can be made in it',
    async () =>
      (await machine.isWritable(runDirectory))
        ? { state: 'ok', seen: 'writable' }
        : { state: 'failure', seen: 'missing or not writable' },
    'vmcache engine restart',
  )
}

/** Null where none is wanted. */
function checkpointDirectoryCheck({ machine, checkpointDirectory }: ControlPlane) {
  if (checkpointDirectory === null) return null
  return check(
    'checkpoint-directory',
    checkpointDirectory,
    'is there, and can be written',
    async () =>
      (await machine.isWritable(checkpointDirectory))
        ? { state: 'ok', seen: 'writable' }
        : { state: 'failure', seen: 'missing or not writable' },
    'mount its storage, or name another one as checkpoint-dir',
  )
}

function groupCheck({ machine }: ControlPlane, group: string) {
  return check(
    'group',
    `group ${group}`,
    'exists',
    async () =>
      (await machine.groupExists(group))
        ? { state: 'ok', seen: 'exists' }
        : { state: 'warning', seen: 'does not exist' },
    group === 'kvm' ? 'install QEMU; until then only root can use the sockets of disks' : 'vmcache engine install',
  )
}

function unitCheck({ machine }: ControlPlane) {
  return check(
    'systemd-unit',
    'vmcache.service',
    'installed, so that the engine starts before the VMs',
    async () => {
      const path = await machine.installedUnit()
      return path === null ? { state: 'skipped', seen: 'not installed' } : { state: 'ok', seen: path }
    },
    'vmcache engine install',
  )
}

function cacheCheck({ inventory }: ControlPlane, cache: CacheDocument) {
  const { name, state } = cache
  const trouble = inventory.cacheTroubles.get(name)
  return check(
    'cache',
    `cache ${name}`,
    'open',
    () => ({
      state: state === 'open' ? 'ok' : state === 'degraded' ? 'warning' : 'failure',
      seen: state === 'open' ? state : `${state}: ${trouble?.reason ?? badDevices(cache)}`,
    }),
    trouble?.mend ?? mendDevices(cache),
  )
}

function deviceCheck(cache: CacheDocument, device: CacheDocument['devices'][number]) {
  const { path, state, errors } = device
  return check(
    'device',
    `${path} of cache ${cache.name}`,
    'present, without errors',
    () => ({
      state: state === 'ok' ? 'ok' : 'failure',
      seen: state === 'ok' ? 'present, without errors' : `${state}, ${errors} errors`,
    }),
    // A cache that waits for its device opens by itself.
    state === 'missing' && cache.state === 'failed'
      ? `connect ${path}, then: vmcache status`
      : mendDevices({ name: cache.name, devices: [device] }),
  )
}

/** A cache in a file beside the images that it caches gains nothing; null where it is elsewhere. */
async function fileSystemCheck({ machine }: ControlPlane, path: string, disks: readonly DiskDocument[]) {
  const isFile = await stat(path).then(
    (status) => status.isFile(),
    () => false,
  )
  if (!isFile) return null
  return check('cache-file', path, 'on another file system than the images', async () => {
    const own = await machine.fileSystemOf(path)
    for (const { disk, origin } of disks) {
      if (!origin.startsWith('/')) continue
      if ((await machine.fileSystemOf(origin).catch(() => null)) !== own) continue
      return {
        state: 'warning',
        seen: `on the same file system as disk ${disk}`,
        mend: 'make a cache on faster storage: vmcache cache create NAME --device PATH',
      }
    }
    return { state: 'ok', seen: 'on another file system' }
  })
}

function diskCheck(plane: ControlPlane, document: DiskDocument) {
  const { disk, state, reason, badPages, lacksWrites, mode } = document
  const isServed = state === 'serving' || state === 'recovering' || state === 'draining'
  const withheld = isServed && mode.wanted !== mode.inForce ? `${mode.inForce}, not ${mode.wanted}` : null
  const words = [
    state,
    reason,
    badPages > 0 ? `bad pages: ${badPages}` : null,
    withheld === null ? null : `${withheld}: ${mode.reason ?? 'unknown'}`,
    !isServed && lacksWrites ? 'its origin lacks writes' : null,
  ]
  return check(
    'disk',
    `disk ${disk}`,
    'serving',
    () => ({
      state:
        isServed && badPages === 0 && withheld === null ? 'ok' : isServed || state === 'direct' ? 'warning' : 'failure',
      seen: words.filter((word) => word !== null).join(': '),
    }),
    isServed && badPages > 0 ? mendBadPages(document) : mendDisk(plane, document),
  )
}

function originCheck({ observe }: ControlPlane, { disk, origin }: DiskDocument) {
  return check(
    'origin',
    `${origin} of disk ${disk}`,
    'reachable',
    async () => {
      const { sizeBytes } = await observe(origin)
      return sizeBytes === null
        ? { state: 'skipped', seen: 'shown by the state of the disk' }
        : { state: 'ok', seen: formatSize(sizeBytes) }
    },
    'mount its storage; the disk comes back by itself',
  )
}

/** Null where the origin carries no stamp. */
async function stampCheck({ host, inventory, stamps }: ControlPlane, { disk, origin }: DiskDocument) {
  const tenure = inventory.tenures.get(disk)
  if (tenure === undefined || tenure.stampId === null) return null
  return check(
    'stamp',
    `${origin} of disk ${disk}`,
    `of host ${host.name}, epoch ${tenure.epoch}`,
    async () => {
      const stamp = await stamps.read(origin)
      if (stamp === null) return { state: 'failure', seen: 'there is none' }
      const isOurs = stamp.hostId === host.id && stamp.id === tenure.stampId && stamp.epoch === tenure.epoch
      return { state: isOurs ? 'ok' : 'failure', seen: `of host ${stamp.hostName}, epoch ${stamp.epoch}` }
    },
    `find out who else uses the image, then: vmcache cache detach ${disk}`,
  )
}

import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { deviceId } from './block-graph.js'
import { insertedName, interimName, reopenedName, type DiskLayers } from './disk-layers.js'
import type { VmMonitor } from './driver.js'
import type { ObservedDisk } from './observe-vm.js'

/**
 * How a disk of a running VM is put behind an NBD server and taken out again. A guest sees a pause of milliseconds: QEMU drains its requests,
 * flushes the path that it leaves, and goes on over the other.
 */

/** While a connection is made QEMU's main loop stands still, and every guest processor that needs it: bounded. */
const OPEN_SECONDS = 3
/** How long requests wait for a server that went away, before the VM is stopped or the guest sees an error. */
const RECONNECT_SECONDS = 5
/** Requests in flight are waited for, and they may wait for a server that comes back, or for slow storage. */
const DRAIN_MILLISECONDS = 30_000
/** Of QEMU: from it on nodes may be added above what an I/O thread is using. */
const FIRST_SAFE_MAJOR = 10

export interface NbdServer {
  /** Path of the unix socket. */
  readonly socket: string
  readonly sizeBytes: number
}

/**
 * Sends the requests of a disk to an NBD server in place of its own storage, which stays open beside it. The server must have what the storage has.
 * ORIGIN_SIZE where the server has another size, HYPERVISOR where QEMU fails; the disk then goes on as before.
 */
export async function insertDisk(monitor: VmMonitor, disk: ObservedDisk, server: NbdServer): Promise<void> {
  const layers = knownLayers(disk)
  const node = insertedName(disk.target, 1)
  await addServer(monitor, disk, node, server)
  try {
    if (layers.format.name === layers.name && layers.format !== layers.storage) {
      await drained(monitor, node, 'blockdev-reopen', { options: [rawOptions(layers, layers.name, node)] })
    } else {
      await insertWithLayer(monitor, disk, layers, node)
    }
  } catch (error) {
    await removeNode(monitor, node)
    throw error
  }
}

/**
 * The same for a disk whose device uses its storage itself. In between it uses an interim layer, first above the storage, then above the server, so
 * that what it was told to be flushed is; the layer that stays takes the name of the storage, which is opened anew under another one: whoever
 * started the VM takes snapshots of what has that name. The guest goes on between all steps.
 */
async function insertWithLayer(
  monitor: VmMonitor,
  disk: ObservedDisk,
  layers: DiskLayers,
  node: string,
): Promise<void> {
  await refuseBusyThread(monitor, disk)
  const { format, storage } = layers
  const interim = interimName(layers)
  const reopened = reopenedName(layers)
  await monitor.execute('blockdev-add', storageOptions(layers, reopened))
  if (format.name !== interim) await monitor.execute('blockdev-add', rawOptions(layers, interim, storage.name))
  const reopen = (file: string) =>
    drained(monitor, node, 'blockdev-reopen', { options: [rawOptions(layers, interim, file)] })
  try {
    await drive(monitor, disk, interim)
    await reopen(node)
    // Fails where something else uses the storage, a job for example.
    await monitor.execute('blockdev-del', { 'node-name': storage.name })
  } catch (error) {
    await reopen(storage.name).catch(() => {})
    await drive(monitor, disk, storage.name)
    await removeNode(monitor, interim)
    await removeNode(monitor, reopened)
    throw error
  }
  await endInterim(monitor, disk, layers, node)
}

/** The device uses the interim layer above a server: it gets the one that stays. */
async function endInterim(monitor: VmMonitor, disk: ObservedDisk, layers: DiskLayers, node: string): Promise<void> {
  await refuseBusyThread(monitor, disk)
  await monitor.execute('blockdev-add', rawOptions(layers, layers.name, node))
  await drive(monitor, disk, layers.name)
  await removeNode(monitor, interimName(layers))
}

/**
 * QEMU 7.2 dies now and then where a node is added above one whose requests come from an I/O thread; 10.0 does not. A guest that stands still sends
 * none. REFUSED where it might.
 */
async function refuseBusyThread(monitor: VmMonitor, { target }: ObservedDisk): Promise<void> {
  const { qemu } = (await monitor.execute('query-version')) as { qemu: { major: number; minor: number } }
  if (qemu.major >= FIRST_SAFE_MAJOR) return
  const { running } = (await monitor.execute('query-status')) as { running: boolean }
  if (!running || ((await monitor.execute('query-iothreads')) as unknown[]).length === 0) return
  throw new VmcacheError(
    'REFUSED',
    `disk ${target} cannot be put behind a cache while its guest runs: QEMU ${qemu.major}.${qemu.minor} may die of that where disks have I/O threads`,
    { hint: 'start the VM by vmcache vm start, or let it stand still for a moment (virsh suspend), or use QEMU 10' },
  )
}

/**
 * Completes what whoever exchanged the disk before has not: its layer has the name again by which others know it. Does nothing where it has.
 * HYPERVISOR where QEMU fails; the disk then goes on as before.
 */
export async function completeExchange(monitor: VmMonitor, disk: ObservedDisk): Promise<void> {
  const { layers, path } = disk
  if (layers === null || path.kind === 'direct' || layers.format.name === layers.name) return
  await removeNode(monitor, layers.name)
  await endInterim(monitor, disk, layers, path.node)
}

/**
 * Sends the requests of an inserted disk to its own storage again, which must have everything that the server was given. HYPERVISOR where QEMU
 * fails, or another program has the image locked; the disk then goes on as before.
 */
export async function removeDisk(monitor: VmMonitor, disk: ObservedDisk): Promise<void> {
  const layers = knownLayers(disk)
  if (disk.path.kind === 'direct') return
  const { node } = disk.path
  const { name, isActive } = layers.storage
  await removeLeftovers(monitor, disk)
  await completeExchange(monitor, disk)
  if (!isActive) await monitor.execute('blockdev-set-active', { 'node-name': name, active: true })
  await drained(monitor, node, 'blockdev-reopen', { options: [rawOptions(layers, layers.name, name)] })
  await monitor.execute('blockdev-del', { 'node-name': node })
}

/**
 * Gives a disk a new connection to its server, after requests failed and the VM was stopped: the old node would fail the next ones too, and
 * a path with failed requests cannot be flushed, so it is left without. The VM has to be resumed afterwards.
 */
export async function renewDisk(monitor: VmMonitor, disk: ObservedDisk, server: NbdServer): Promise<void> {
  const layers = knownLayers(disk)
  if (disk.path.kind === 'direct') return
  const old = disk.path.node
  const node = insertedName(disk.target, 1 + Number(/\d+$/.exec(old)?.[0] ?? 1))
  await addServer(monitor, disk, node, server)
  await completeExchange(monitor, disk)
  await monitor.execute('blockdev-add', rawOptions(layers, interimName(layers), node))
  await drive(monitor, disk, interimName(layers), old)
  await removeNode(monitor, layers.name)
  await endInterim(monitor, disk, layers, node)
  await removeNode(monitor, old)
}

/**
 * Makes the device use a node. `waits`: the NBD node whose requests are waited for. A QEMU that is told to exchange a node for itself dies (7.2 and
 * 10.0), so it is asked first.
 */
async function drive(
  monitor: VmMonitor,
  { device }: ObservedDisk,
  value: string,
  waits: string | null = null,
): Promise<void> {
  const drive = { path: deviceId.path(device), property: 'drive' }
  if ((await monitor.execute('qom-get', drive)) === value) return
  await drained(monitor, waits, 'qom-set', { ...drive, value })
}

async function addServer(
  monitor: VmMonitor,
  disk: ObservedDisk,
  node: string,
  { socket, sizeBytes }: NbdServer,
): Promise<void> {
  const size = (bytes: number) => `${formatSize(bytes)} (${bytes} bytes)`
  const refuse = (seen: number): never => {
    throw new VmcacheError('ORIGIN_SIZE', `disk ${disk.target} has ${size(disk.sizeBytes)}, its cache ${size(seen)}`)
  }
  if (sizeBytes !== disk.sizeBytes) refuse(sizeBytes)
  const options = {
    driver: 'nbd',
    'node-name': node,
    server: { type: 'unix', path: socket },
    export: '',
    'reconnect-delay': RECONNECT_SECONDS,
    'open-timeout': OPEN_SECONDS,
    cache: { direct: true },
    discard: 'unmap',
  }
  await removeLeftovers(monitor, disk)
  await monitor.execute('blockdev-add', options, { timeoutMilliseconds: 2 * OPEN_SECONDS * 1000 })
  try {
    // QEMU itself would take any size, and the guest would lose what is above it.
    const nodes = (await monitor.execute('query-named-block-nodes', { flat: true })) as {
      'node-name'?: string
      image: { 'virtual-size': number }
    }[]
    const seen = nodes.find((other) => other['node-name'] === node)?.image['virtual-size'] ?? 0
    if (seen !== disk.sizeBytes) refuse(seen)
  } catch (error) {
    await removeNode(monitor, node)
    throw error
  }
}

/** A node that nothing uses any more is better away; that it is still there harms nothing. */
async function removeNode(monitor: VmMonitor, node: string): Promise<void> {
  await monitor.execute('blockdev-del', { 'node-name': node }).catch(() => {})
}

async function removeLeftovers(monitor: VmMonitor, { leftovers }: ObservedDisk): Promise<void> {
  for (const node of leftovers) await removeNode(monitor, node)
}

/** A command that waits for requests in flight. Where their server hangs its connection is broken, so that QEMU does not hang with it. */
async function drained(monitor: VmMonitor, node: string | null, command: string, args: object): Promise<void> {
  try {
    await monitor.execute(command, args, { timeoutMilliseconds: DRAIN_MILLISECONDS })
  } catch (error) {
    const isLate = error instanceof VmcacheError && error.details['timeout'] === true
    if (isLate && node !== null) await monitor.yank?.(node).catch(() => {})
    throw error
  }
}

/** Everything that the layer is opened with: what is left out goes back to QEMU's default. */
function rawOptions(layers: DiskLayers, name: string, file: string): object {
  return {
    driver: 'raw',
    'node-name': name,
    file,
    ...commonOptions(layers),
    'detect-zeroes': layers.format.detectZeroes,
  }
}

/** Of the storage once more, beside the first node. */
function storageOptions(layers: DiskLayers, name: string): object {
  const { driver, fileName } = layers.storage
  const aio = layers.io === null ? {} : { aio: layers.io }
  return { driver, 'node-name': name, filename: fileName, ...aio, ...commonOptions(layers) }
}

function commonOptions({ format, discard }: DiskLayers): object {
  return { 'read-only': format.isReadOnly, cache: format.cache, discard: discard ? 'unmap' : 'ignore' }
}

function knownLayers({ target, layers, whyDirect }: ObservedDisk): DiskLayers {
  if (layers !== null) return layers
  throw new VmcacheError(
    'REFUSED',
    `disk ${target} cannot be given other storage now: ${whyDirect ?? 'its own is not there'}`,
  )
}

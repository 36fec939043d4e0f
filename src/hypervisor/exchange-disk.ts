import { VmcacheError } from '../base/errors.js'
import { formatSize } from '../base/units.js'
import { deviceId, type BlockNode } from './block-graph.js'
import type { VmMonitor } from './driver.js'
import { insertedName, type DiskLayers, type ObservedDisk } from './observe-vm.js'

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
    await drained(monitor, node, 'blockdev-reopen', { options: [rawOptions(layers, node)] })
  } catch (error) {
    await removeNode(monitor, node)
    throw error
  }
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
  if (!isActive) await monitor.execute('blockdev-set-active', { 'node-name': name, active: true })
  await drained(monitor, node, 'blockdev-reopen', { options: [rawOptions(layers, name)] })
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
  const drive = (value: string) =>
    drained(monitor, old, 'qom-set', { path: deviceId.path(disk.device), property: 'drive', value })
  await drive(node)
  // The raw layer keeps its name: libvirt knows it by that.
  await removeNode(monitor, layers.format.name)
  await removeNode(monitor, old)
  await monitor.execute('blockdev-add', rawOptions(layers, node))
  await drive(layers.format.name)
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

/** A command that waits for requests in flight. Where their server hangs its connection is broken, so that QEMU does not hang with it. */
async function drained(monitor: VmMonitor, node: string, command: string, args: object): Promise<void> {
  try {
    await monitor.execute(command, args, { timeoutMilliseconds: DRAIN_MILLISECONDS })
  } catch (error) {
    const isLate = error instanceof VmcacheError && error.details['timeout'] === true
    if (isLate) await monitor.yank?.(node).catch(() => {})
    throw error
  }
}

/** Everything that the layer is opened with: what is left out goes back to QEMU's default. */
function rawOptions({ format, discard }: DiskLayers, file: string): object {
  const { name, isReadOnly, cache, detectZeroes }: BlockNode = format
  return {
    driver: 'raw',
    'node-name': name,
    file,
    'read-only': isReadOnly,
    cache,
    discard: discard ? 'unmap' : 'ignore',
    'detect-zeroes': detectZeroes,
  }
}

function knownLayers({ target, layers, whyDirect }: ObservedDisk): DiskLayers {
  if (layers !== null) return layers
  throw new VmcacheError(
    'REFUSED',
    `disk ${target} cannot be given other storage now: ${whyDirect ?? 'its own is not there'}`,
  )
}

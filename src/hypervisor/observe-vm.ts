import type { VmState } from '../model/vm.js'
import { blockGraph, deviceId, type BlockNode } from './block-graph.js'
import type { DeclaredDisk, VmDriver, VmIdentity, VmMonitor } from './driver.js'

/** A disk of a running VM. */
export interface ObservedDisk {
  /** `vda`. */
  readonly target: string
  /** QEMU's id of the device. */
  readonly device: string
  readonly sizeBytes: number
  /** Whether the VM is stopped when a request fails; else the guest sees the error. */
  readonly stopsOnError: boolean
  /** Where its requests go: to its own storage, or to the node of an NBD server that vmcache inserted. */
  readonly path:
    { readonly kind: 'direct' } | { readonly kind: 'cached'; readonly node: string; readonly socket: string }
  /** How it can be inserted and removed; null where it cannot. */
  readonly layers: DiskLayers | null
  /** Why it cannot be served through a cache; null where it can. */
  readonly whyDirect: string | null
}

/** The raw layer of a disk, whose `file` is exchanged, and what it is opened with. */
export interface DiskLayers {
  readonly format: BlockNode
  /** The node of its own storage, which stays open, without a parent and so without locks, while the cache is in use. */
  readonly storage: BlockNode
  readonly discard: boolean
}

export interface ObservedVm {
  readonly state: VmState
  /** None where it is off. */
  readonly disks: readonly ObservedDisk[]
}

/** What a VM does now, as QEMU sees it. `monitor`: where the caller has it already. */
export async function observeVm(driver: VmDriver, vm: VmIdentity, monitor?: VmMonitor | null): Promise<ObservedVm> {
  const way = monitor === undefined ? await driver.monitor(vm) : monitor
  if (way === null) return { state: 'off', disks: [] }
  const [{ disks }, state] = await Promise.all([driver.declared(vm), stateOf(way)])
  return { state, disks: await observeDisks(way, disks) }
}

async function stateOf(monitor: VmMonitor): Promise<VmState> {
  const { status, running } = (await monitor.execute('query-status')) as { status: string; running: boolean }
  if (running) return 'running'
  return status === 'io-error' ? 'io-error' : 'paused'
}

/** The disks of a VM that its definition knows and that have a medium. */
export async function observeDisks(monitor: VmMonitor, declared: readonly DeclaredDisk[]): Promise<ObservedDisk[]> {
  const graph = await blockGraph(monitor)
  const disks = graph.devices.flatMap((device) => {
    const known = declared.find((disk) => disk.device === device.id)
    return known === undefined || device.node === null ? [] : [{ device, known, top: device.node }]
  })
  return Promise.all(
    disks.map(async ({ device, known, top }): Promise<ObservedDisk> => {
      const property = (name: string) =>
        monitor.execute('qom-get', { path: deviceId.path(device.id), property: name }).catch(() => null)
      const [onError, sharing, kind] = await Promise.all(['werror', 'share-rw', 'type'].map(property))
      const file = graph.childOf(top, 'file')
      // A snapshot puts an overlay above what was inserted, which is read through it still.
      const inserted = graph.used.find((node) => insertedNode(node) !== null && isFor(node, known.target))
      const cached = insertedNode(inserted ?? null)
      const storage = cached === null ? file : (graph.named(storageNameOf(top)) ?? null)
      const whyDirect =
        known.whyDirect ??
        whyNot(top, storage, graph.childOf(top, 'backing') !== null) ??
        (device.isRemovable ? 'medium' : null) ??
        (sharing === true ? 'shareable' : null) ??
        (/^scsi-(block|generic)$/.test(String(kind)) ? 'LUN pass-through' : null)
      return {
        target: known.target,
        device: device.id,
        sizeBytes: top.sizeBytes,
        stopsOnError: onError === 'stop',
        path: cached ?? { kind: 'direct' },
        layers: whyDirect === null && storage !== null ? { format: top, storage, discard: known.discard } : null,
        whyDirect,
      }
    }),
  )
}

/** Names of the nodes that vmcache inserts begin so. */
const INSERTED = 'vmcache-'

export function insertedName(target: string, number: number): string {
  return `${INSERTED}${target}-${number}`
}

function isFor({ name }: BlockNode, target: string): boolean {
  return insertedName(target, Number(/\d+$/.exec(name)?.[0])) === name
}

function insertedNode(node: BlockNode | null): (ObservedDisk['path'] & { kind: 'cached' }) | null {
  if (node === null || node.driver !== 'nbd' || !node.name.startsWith(INSERTED)) return null
  return { kind: 'cached', node: node.name, socket: /[?&]socket=(.*)$/.exec(node.fileName)?.[1] ?? '' }
}

/** Of a raw layer `X-format`: libvirt calls them so, and we do. */
function storageNameOf({ name }: BlockNode): string {
  return name.replace(/-format$/, '-storage')
}

/** Drivers of storage that a disk may have. */
const PROTOCOLS: ReadonlySet<string> = new Set(['file', 'host_device'])

function whyNot(top: BlockNode, storage: BlockNode | null, hasBacking: boolean): string | null {
  if (hasBacking) return `${top.driver} with a backing chain`
  if (PROTOCOLS.has(top.driver)) return 'no raw layer above its storage, as libvirt starts it from version 10 on'
  if (top.driver !== 'raw') return `${top.driver} image`
  if (top.isReadOnly) return 'read-only'
  if (storage === null || storage.name !== storageNameOf(top)) return 'no layer of its own above its storage'
  if (!PROTOCOLS.has(storage.driver)) return `storage of kind ${storage.driver}`
  return storage.sizeBytes === top.sizeBytes ? null : 'a part of its image'
}

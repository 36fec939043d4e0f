import type { VmState } from '../model/vm.js'
import { blockGraph, deviceId, type BlockNode } from './block-graph.js'
import { isInserted, layersOf, type DiskLayers } from './disk-layers.js'
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
      // A snapshot puts an overlay above what was inserted, which is read through it still.
      const inserted = graph.used.find((node) => isInserted(node, known.target))
      const layers = layersOf(graph, top)
      const whyDirect =
        known.whyDirect ??
        (typeof layers === 'string' ? layers : null) ??
        (device.isRemovable ? 'medium' : null) ??
        (sharing === true ? 'shareable' : null) ??
        (/^scsi-(block|generic)$/.test(String(kind)) ? 'LUN pass-through' : null)
      const { discard, io } = known
      return {
        target: known.target,
        device: device.id,
        sizeBytes: top.sizeBytes,
        stopsOnError: onError === 'stop',
        path:
          inserted === undefined
            ? { kind: 'direct' }
            : { kind: 'cached', node: inserted.name, socket: socketOf(inserted) },
        layers: whyDirect === null && typeof layers !== 'string' ? { ...layers, discard, io } : null,
        whyDirect,
      }
    }),
  )
}

function socketOf({ fileName }: BlockNode): string {
  return /[?&]socket=(.*)$/.exec(fileName)?.[1] ?? ''
}

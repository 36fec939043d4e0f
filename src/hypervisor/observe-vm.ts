import type { VmState } from '../model/vm.js'
import { blockGraph, type BlockGraph } from './block-graph.js'
import { isInserted, layersOf, leftoversOf, type DiskLayers } from './disk-layers.js'
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
  /** Nodes that an exchange that was not brought to its end has left: nothing uses them. */
  readonly leftovers: readonly string[]
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
  const [{ disks }, state, graph] = await Promise.all([driver.declared(vm), stateOf(way), blockGraph(way)])
  return { state, disks: observedDisks(graph, disks) }
}

async function stateOf(monitor: VmMonitor): Promise<VmState> {
  const { status, running } = (await monitor.execute('query-status')) as { status: string; running: boolean }
  if (running) return 'running'
  return status === 'io-error' ? 'io-error' : 'paused'
}

/** The disks of a VM that its definition knows and that have a medium. */
export async function observeDisks(monitor: VmMonitor, declared: readonly DeclaredDisk[]): Promise<ObservedDisk[]> {
  return observedDisks(await blockGraph(monitor), declared)
}

function observedDisks(graph: BlockGraph, declared: readonly DeclaredDisk[]): ObservedDisk[] {
  return graph.devices.flatMap(({ id, isRemovable, node }) => {
    const known = declared.find((disk) => disk.device === id)
    if (known === undefined || node === null) return []
    const { target, stopsOnError, discard, io } = known
    const layers = layersOf(graph, node)
    const whyDirect = known.whyDirect ?? (typeof layers === 'string' ? layers : null) ?? (isRemovable ? 'medium' : null)
    return {
      ...{ target, device: id, sizeBytes: node.sizeBytes, stopsOnError, whyDirect },
      path: pathOf(graph, target),
      layers: whyDirect === null && typeof layers !== 'string' ? { ...layers, discard, io } : null,
      leftovers: typeof layers === 'string' ? [] : leftoversOf(graph, target, layers),
    }
  })
}

/** A snapshot puts an overlay above what was inserted, which is read through it still. */
function pathOf({ used }: BlockGraph, target: string): ObservedDisk['path'] {
  const node = used.find((other) => isInserted(other, target))
  if (node === undefined) return { kind: 'direct' }
  return { kind: 'cached', node: node.name, socket: /[?&]socket=(.*)$/.exec(node.fileName)?.[1] ?? '' }
}

import type { VmMonitor } from './driver.js'

/** A node of QEMU's block graph: an image format, or the storage below it. */
export interface BlockNode {
  readonly name: string
  /** `raw`, `qcow2`, `file`, `nbd` ... */
  readonly driver: string
  /** What it was opened from, as QEMU shows it. */
  readonly fileName: string
  readonly sizeBytes: number
  readonly isReadOnly: boolean
  readonly cache: { readonly direct: boolean; readonly 'no-flush': boolean }
  readonly detectZeroes: string
  /** False where QEMU has given it up: it was not in use when the VM's memory was loaded. Always true before QEMU 10. */
  readonly isActive: boolean
}

/** A device of the guest. */
export interface BlockDevice {
  readonly id: string
  readonly isRemovable: boolean
  /** What it reads and writes; null where there is no medium. */
  readonly node: BlockNode | null
}

export interface BlockGraph {
  readonly devices: readonly BlockDevice[]
  readonly nodes: readonly BlockNode[]
  named(name: string): BlockNode | undefined
  /** Nodes that another one, or a device, has below it. */
  readonly used: readonly BlockNode[]
  /** The node that `node` has below it under that name (`file`, `backing`); null where it has none. */
  childOf(node: BlockNode, name: string): BlockNode | null
}

interface NodeInfo {
  'node-name'?: string
  drv: string
  file: string
  ro: boolean
  detect_zeroes: string
  /** Since QEMU 10.0. */
  active?: boolean
  cache: { direct: boolean; 'no-flush': boolean }
  image: { 'virtual-size': number; filename: string }
}

interface DeviceInfo {
  qdev?: string
  removable: boolean
  inserted?: NodeInfo
}

interface DebugGraph {
  nodes: { id: number; type: string; name: string }[]
  edges: { parent: number; child: number; name: string }[]
}

/** The block graph of a VM as it is now. */
export async function blockGraph(monitor: VmMonitor): Promise<BlockGraph> {
  const [nodes, devices, { nodes: ids, edges }] = (await Promise.all([
    monitor.execute('query-named-block-nodes', { flat: true }),
    monitor.execute('query-block'),
    monitor.execute('x-debug-query-block-graph'),
  ])) as [NodeInfo[], DeviceInfo[], DebugGraph]
  const known = new Map(nodes.map((info) => [info['node-name'] ?? '', nodeOf(info)]))
  const named = (name: string): BlockNode | undefined => known.get(name)
  return {
    nodes: [...known.values()],
    named,
    used: [...known.values()].filter(({ name }) => {
      const id = ids.find((node) => node.type === 'block-driver' && node.name === name)?.id
      return edges.some(({ child }) => child === id)
    }),
    devices: devices.flatMap(({ qdev, removable, inserted }) => {
      if (qdev === undefined) return []
      const node = inserted === undefined ? null : (named(inserted['node-name'] ?? '') ?? null)
      return [{ id: deviceId.of(qdev), isRemovable: removable, node }]
    }),
    childOf({ name }, edge) {
      const parent = ids.find((node) => node.type === 'block-driver' && node.name === name)?.id
      const child = edges.find((other) => other.parent === parent && other.name === edge)?.child
      return named(ids.find(({ id }) => id === child)?.name ?? '') ?? null
    },
  }
}

function nodeOf(info: NodeInfo): BlockNode {
  return {
    name: info['node-name'] ?? '',
    driver: info.drv,
    fileName: info.image.filename,
    sizeBytes: info.image['virtual-size'],
    isReadOnly: info.ro,
    cache: { direct: info.cache.direct, 'no-flush': info.cache['no-flush'] },
    detectZeroes: info.detect_zeroes,
    isActive: info.active ?? true,
  }
}

/** Ids of devices, and their places in QEMU's object tree. */
export const deviceId = {
  /** `/machine/peripheral/vda/virtio-backend` -> `vda`; other devices are shown by their id alone. */
  of: (qdev: string): string => /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] ?? qdev,
  path: (id: string): string => `/machine/peripheral/${id}`,
}

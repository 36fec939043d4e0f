import type { BlockGraph, BlockNode } from './block-graph.js'

/** The nodes below a device, and what they are opened with. */
export interface DiskLayers {
  /**
   * What the device uses: a raw layer, whose `file` is exchanged; or the storage itself, as libvirt starts raw images from version 10 on, which
   * gets a layer when it is inserted.
   */
  readonly format: BlockNode
  /** The node of its own storage, which stays open, without a parent and so without locks, while the cache is in use. */
  readonly storage: BlockNode
  /** The name of the layer when nothing is under way: whoever started the VM knows the disk by it. */
  readonly name: string
  readonly discard: boolean
  /** How the storage is read and written (`native`, `io_uring` ...); null for QEMU's default. */
  readonly io: string | null
}

/** Names of the nodes that vmcache adds begin so. */
const PREFIX = 'vmcache-'
const FORMAT = '-format'
const STORAGE = '-storage'

/** Drivers of storage that a disk may have. */
const PROTOCOLS: ReadonlySet<string> = new Set(['file', 'host_device'])

/** An NBD node of vmcache; `number` rises when one takes the place of another. */
export function insertedName(target: string, number: number): string {
  return `${PREFIX}${target}-${number}`
}

export function isInserted({ name, driver }: BlockNode, target: string): boolean {
  return driver === 'nbd' && insertedName(target, Number(/\d+$/.exec(name)?.[0])) === name
}

/** A raw layer that a device uses only while its own one is exchanged. Libvirt and vmcache call the nodes of a disk `X-format` and `X-storage`. */
export function interimName({ name }: Pick<DiskLayers, 'name'>): string {
  return `${PREFIX}${idOf(name)}${FORMAT}`
}

/** The storage of a disk that got its layer from vmcache: the layer has taken the name of the first one. */
export function reopenedName({ name }: Pick<DiskLayers, 'name'>): string {
  return `${PREFIX}${idOf(name)}${STORAGE}`
}

function idOf(name: string): string {
  return name.replace(/-(format|storage)$/, '')
}

type Nodes = Pick<DiskLayers, 'format' | 'storage' | 'name'>

/** The layers of a device that uses `top`, or why it cannot be given other storage. */
export function layersOf(graph: BlockGraph, top: BlockNode): Nodes | string {
  if (graph.childOf(top, 'backing') !== null) return `${top.driver} with a backing chain`
  if (top.driver !== 'raw' && !PROTOCOLS.has(top.driver)) return `${top.driver} image`
  if (top.isReadOnly) return 'read-only'
  const nodes = PROTOCOLS.has(top.driver) ? withoutLayer(top) : withLayer(graph, top)
  if (nodes === null) return 'no layer of its own above its storage'
  const { storage } = nodes
  if (!PROTOCOLS.has(storage.driver)) return `storage of kind ${storage.driver}`
  return storage.sizeBytes === top.sizeBytes ? nodes : 'a part of its image'
}

function withoutLayer(top: BlockNode): Nodes | null {
  return top.name.endsWith(STORAGE) ? { format: top, storage: top, name: top.name } : null
}

function withLayer(graph: BlockGraph, top: BlockNode): Nodes | null {
  const child = graph.childOf(top, 'file')
  if (child === null) return null
  const isInterim = top.name.startsWith(PREFIX) && top.name.endsWith(FORMAT)
  const id = idOf(isInterim ? top.name.slice(PREFIX.length) : top.name)
  const [plain, reopened] = [`${id}${STORAGE}`, `${PREFIX}${id}${STORAGE}`].map(graph.named)
  // An interim layer above the first storage has not come further; any other is above a server.
  const isFirst = isInterim && child === plain
  const isReopened = !isFirst && (top.name.endsWith(STORAGE) || (isInterim && reopened !== undefined))
  const storage = isReopened ? reopened : plain
  if (storage === undefined || (child !== storage && child.driver !== 'nbd')) return null
  const name = isInterim ? `${id}${isFirst || isReopened ? STORAGE : FORMAT}` : top.name
  return { format: top, storage, name }
}

/** Nodes that vmcache added for a disk and that nothing uses. */
export function leftoversOf({ nodes, used }: BlockGraph, target: string, { storage, name }: Nodes): string[] {
  const known = [interimName({ name }), reopenedName({ name })]
  const ours = nodes.filter((node) => known.includes(node.name) || isInserted(node, target))
  return ours.filter((node) => !used.includes(node) && node !== storage).map((node) => node.name)
}

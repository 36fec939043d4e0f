import type { DeclaredDisk, DeclaredVm } from '../driver.js'
import { AGENT_PORT } from '../guest-agent.js'
import { elementsAt, parseXml, type Element } from './xml.js'

const UNIT_BYTES: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  kb: 1000,
  k: 2 ** 10,
  kib: 2 ** 10,
  mb: 1000 ** 2,
  m: 2 ** 20,
  mib: 2 ** 20,
  gb: 1000 ** 3,
  g: 2 ** 30,
  gib: 2 ** 30,
}

/** What a domain's XML (of `virsh dumpxml`) says that we need. HYPERVISOR where it is no domain. */
export function parseDomain(text: string): DeclaredVm {
  const domain = parseXml(text)
  const first = (...path: string[]): Element | undefined => elementsAt(domain, ...path)[0]
  const memory = first('memory')
  const unit = UNIT_BYTES[memory?.attributes['unit']?.toLowerCase() ?? 'kib'] ?? 1
  return {
    name: first('name')?.text.trim() ?? '',
    memoryBytes: Number(memory?.text ?? 0) * unit,
    disks: elementsAt(domain, 'devices', 'disk').map(diskOf),
  }
}

/** Whether a domain has a port for the agent of its guest. */
export function hasAgentPort(text: string): boolean {
  const ports = elementsAt(parseXml(text), 'devices', 'channel', 'target')
  return ports.some(({ attributes }) => attributes['name'] === AGENT_PORT)
}

function diskOf(disk: Element): DeclaredDisk {
  const of = (...path: string[]): Readonly<Record<string, string>> => elementsAt(disk, ...path)[0]?.attributes ?? {}
  const source = of('source')
  return {
    target: of('target')['dev'] ?? '',
    device: of('alias')['name'] ?? null,
    path: source['file'] ?? source['dev'] ?? null,
    stopsOnError: of('driver')['error_policy'] === 'stop',
    discard: of('driver')['discard'] === 'unmap',
    io: of('driver')['io'] ?? null,
    whyDirect: whyDirect(disk),
  }
}

function whyDirect(disk: Element): string | null {
  const has = (...path: string[]): boolean => elementsAt(disk, ...path).length > 0
  const device = disk.attributes['device'] ?? 'disk'
  const format = elementsAt(disk, 'driver')[0]?.attributes['type'] ?? 'raw'
  if (device === 'lun') return 'LUN pass-through'
  if (device !== 'disk') return 'medium'
  if (has('shareable')) return 'shareable'
  if (has('readonly')) return 'read-only'
  if (has('transient')) return 'transient'
  if (has('mirror')) return 'a job of libvirt copies it'
  if (has('backingStore', 'source')) return `${format} with a backing chain`
  if (format !== 'raw') return `${format} image`
  return has('source', 'slices') ? 'a part of its image' : null
}

import { join } from 'node:path'
import type { SuspendedList } from '../operations/control-plane.js'
import { writeDurably } from './write-durably.js'

const WORDS = [
  'Virtual machines that are suspended: vmcache has their memory. One on each line: UUID, tab, name.',
  'The hook of vmcache keeps libvirt from starting them without it. The engine keeps this file.',
]

export function suspendedListPath(stateDir: string): string {
  return join(stateDir, 'suspended')
}

/** The list as a file, for the libvirt hook: it is there without engine and database. */
export function suspendedList(stateDir: string): SuspendedList {
  return { write: (vms) => writeDurably(suspendedListPath(stateDir), formatSuspendedList(vms)) }
}

export function formatSuspendedList(vms: Parameters<SuspendedList['write']>[0]): string {
  return [...WORDS.map((line) => `# ${line}`), ...vms.map(({ uuid, name }) => `${uuid}\t${name}`), ''].join('\n')
}

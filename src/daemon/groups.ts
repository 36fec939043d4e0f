import { readFileSync } from 'node:fs'
import type { Configuration } from '../model/configuration.js'

/** Groups that QEMU runs with, as distributions name them. */
const QEMU_GROUPS = ['libvirt-qemu', 'qemu', 'kvm'] as const

/** The id of a group of this machine; null where there is none of that name. */
export function groupId(name: string, groupFile = '/etc/group'): number | null {
  const id = fieldOf(groupFile, (fields) => fields[0] === name, 2)
  return id === null ? null : Number(id)
}

/** The name of a user of this machine; null where the id has none. */
export function userName(uid: number, passwordFile = '/etc/passwd'): string | null {
  return fieldOf(passwordFile, (fields) => fields[2] === String(uid), 0)
}

/** Who may use the sockets of an engine: never one group for both kinds. A null group is that of the process. */
export interface SocketGroups {
  readonly control: number | null
  readonly disk: number | null
}

/** The groups of the machine's engine. One that does not exist leaves its sockets to root. */
export function socketGroups(configuration: Configuration, groupFile = '/etc/group'): SocketGroups {
  const control = groupId(configuration['control-group'], groupFile)
  const wanted = configuration['disk-group']
  const candidates = wanted === null ? QEMU_GROUPS : [wanted]
  const disk = candidates.map((name) => groupId(name, groupFile)).find((id) => id !== null && id !== control)
  return { control, disk: disk ?? null }
}

function fieldOf(file: string, isWanted: (fields: string[]) => boolean, field: number): string | null {
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const fields = line.split(':')
    if (fields.length > field && isWanted(fields)) return fields[field]!
  }
  return null
}

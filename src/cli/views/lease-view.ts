import type { LeaseDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { localTime, orNone } from './text.js'

/** Whether an origin lacks what only the cache of its holder has. */
function completeness({ lacksWrites }: LeaseDocument, { paint }: Screen): string {
  if (lacksWrites === null) return 'unknown'
  return lacksWrites ? paint.warning('lacks writes') : 'complete'
}

/** `vmcache lease list`. */
export function leaseTable(leases: readonly LeaseDocument[], screen: Screen): Promise<string> {
  const columns: Column<LeaseDocument>[] = [
    { head: 'ORIGIN', value: ({ origin }) => origin, cutTo: 24, cutFrom: 'start' },
    { head: 'HOST', value: ({ host }) => orNone(host) },
    { head: 'DISK', value: ({ disk }) => orNone(disk) },
    { head: 'EPOCH', value: ({ epoch }) => String(epoch) },
    { head: 'ORIGIN IS', value: (lease) => completeness(lease, screen) },
    { head: 'SINCE', value: ({ changedAt }) => orNone(changedAt, localTime), spare: 1 },
  ]
  return renderTable(columns, leases, screen)
}

/** `vmcache lease show`. */
export function leaseProperties(lease: LeaseDocument, screen: Screen): string {
  const { paint } = screen
  return renderProperties(
    [
      ['origin', paint.strong(lease.origin)],
      ['held by', lease.host === null ? 'nobody' : `${lease.host} (${lease.hostId})`],
      ['disk', lease.disk],
      ['epoch', String(lease.epoch)],
      ['origin is', lease.host === null ? null : completeness(lease, screen)],
      ['since', lease.changedAt === null ? null : localTime(lease.changedAt)],
    ],
    screen,
  )
}

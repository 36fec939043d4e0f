import type { EventDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { localTime, NONE } from './text.js'

const objectOf = ({ vm, disk, cache }: EventDocument): string => disk ?? vm ?? cache ?? NONE

/** `vmcache event list`. */
export function eventTable(events: readonly EventDocument[], screen: Screen): Promise<string> {
  const columns: Column<EventDocument>[] = [
    { head: 'WHEN', value: ({ at }) => localTime(at) },
    { head: 'WHAT', value: ({ what }) => what },
    { head: 'OBJECT', value: objectOf, cutTo: 16 },
    { head: 'RESULT', value: ({ result }) => result, cutTo: 12 },
    { head: 'WHO', value: ({ who }) => who, spare: 2 },
    { head: 'WHY', value: ({ why }) => why ?? NONE, cutTo: 12, spare: 1 },
  ]
  return renderTable(columns, events, screen)
}

/** One line of `vmcache event list --follow`. */
export function eventLine(event: EventDocument, { paint }: Screen): string {
  const why = event.why === null ? '' : ` (${event.why})`
  return `${paint.faint(localTime(event.at))}  ${event.what}  ${objectOf(event)}  ${event.result}  ${event.who}${why}`
}

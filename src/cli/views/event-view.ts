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
    { head: 'OBJECT', value: objectOf, cut: true },
    { head: 'RESULT', value: ({ result }) => result, cut: true },
    { head: 'WHO', value: ({ who }) => who, spare: 1 },
    { head: 'WHY', value: ({ why }) => why ?? NONE, cut: true, spare: 2 },
  ]
  return renderTable(columns, events, screen)
}

/** One line of `vmcache event list --follow`. */
export function eventLine(event: EventDocument, { paint }: Screen): string {
  const why = event.why === null ? '' : ` (${event.why})`
  return `${paint.faint(localTime(event.at))}  ${event.what}  ${objectOf(event)}  ${event.result}  ${event.who}${why}`
}

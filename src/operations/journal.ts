import type { Clock } from '../base/clock.js'
import { coalesce } from '../base/coalesce.js'
import type { EventDocument } from '../protocol/control/documents.js'
import type { EventQuery } from '../state/event-store.js'
import type { StateStore } from '../state/state-store.js'

/** What happened: who did what, to what, why and how it ended. */
export interface Journal {
  /** Never fails: what the database does not take now is kept and taken to it later. */
  record(event: Omit<EventDocument, 'at' | 'vm' | 'disk' | 'cache' | 'why'> & Partial<EventDocument>): Promise<void>
  /** Oldest first; while the database is away what this engine remembers. */
  list(query: EventQuery): Promise<EventDocument[]>
  /** Takes kept events to the database and forgets those that are too old. */
  tidy(): Promise<void>
  /** Events that wait for the database. */
  readonly unsaved: number
}

const KEPT_MILLISECONDS = 90 * 24 * 3600 * 1000
const TIDY_MILLISECONDS = 24 * 3600 * 1000
/** Events that are remembered for the time in which the database is away. */
const REMEMBERED = 1000

export function createJournal(state: StateStore, host: string, clock: Clock): Journal {
  let remembered: EventDocument[] = []
  let unsaved: EventDocument[] = []
  let tidiedAt = -Infinity

  const save = coalesce(async () => {
    while (unsaved.length > 0) {
      const [event] = unsaved as [EventDocument]
      await state.events.append(host, event)
      unsaved = unsaved.filter((other) => other !== event)
    }
  })

  return {
    async record(event) {
      const full: EventDocument = {
        at: new Date(clock.now()).toISOString(),
        why: null,
        vm: null,
        disk: null,
        cache: null,
        ...event,
      }
      remembered = [...remembered.slice(1 - REMEMBERED), full]
      const wasEmpty = unsaved.length === 0
      unsaved = [...unsaved.slice(1 - REMEMBERED), full]
      // Where others wait already, either they are being saved or the database is away: nobody waits for it again.
      if (wasEmpty) await save().catch(() => {})
    },

    async list(query) {
      try {
        return [...(await state.events.list(host, query)), ...unsaved.filter((event) => matches(event, query))]
      } catch {
        return remembered.filter((event) => matches(event, query))
      }
    },

    async tidy() {
      await save()
      if (clock.monotonic() - tidiedAt < TIDY_MILLISECONDS) return
      await state.events.deleteBefore(host, new Date(clock.now() - KEPT_MILLISECONDS).toISOString())
      tidiedAt = clock.monotonic()
    },

    get unsaved() {
      return unsaved.length
    },
  }
}

function matches(event: EventDocument, { sinceAt, vm, disk }: EventQuery): boolean {
  return (
    (sinceAt === null || event.at >= sinceAt) &&
    (vm === null || event.vm === vm) &&
    (disk === null || event.disk === disk)
  )
}

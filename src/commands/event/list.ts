import { string } from '@oclif/core/flags'
import { systemClock } from '../../base/clock.js'
import { VmcacheCommand } from '../../cli/base-command.js'
import { durationFlag, switchFlag } from '../../cli/flags.js'
import { followEvents } from '../../cli/follow-events.js'
import { eventLine, eventTable } from '../../cli/views/event-view.js'
import type { EventDocument } from '../../protocol/control/documents.js'
import type { RequestOf } from '../../protocol/control/routes.js'

const DEFAULT_SINCE_SECONDS = 86_400
const FOLLOW_MILLISECONDS = 1000

export default class EventList extends VmcacheCommand {
  static override summary = 'List what happened: what, why, who asked for it, and how it ended.'
  static override description = 'Events are kept for 90 days.'
  static override examples = [
    '<%= config.bin %> event list --since 1h',
    '<%= config.bin %> event list --disk db01/vda --since 7d',
    {
      description: 'One JSON document per line, as it happens',
      command: '<%= config.bin %> event list --follow --json',
    },
  ]
  static override flags = {
    since: durationFlag({ summary: 'Only events that are no older than this (1d).' }),
    disk: string({ summary: 'Only events of this disk.', helpValue: 'DISK' }),
    vm: string({ summary: 'Only events of this VM.', helpValue: 'VM' }),
    follow: switchFlag({ summary: 'Go on with events as they happen, until Ctrl-C.' }),
  }

  async run(): Promise<{ events: EventDocument[] }> {
    const { flags } = await this.parse(EventList)
    const request = {
      sinceAt: new Date(systemClock.now() - (flags.since ?? DEFAULT_SINCE_SECONDS) * 1000).toISOString(),
      vm: flags.vm ?? null,
      disk: flags.disk ?? null,
    }
    const result = await this.ask('event.list', request)
    if (flags.follow) return this.#follow(result.events, request)
    return this.print(result, (screen) =>
      result.events.length === 0 ? this.empty('no events in this time') : eventTable(result.events, screen),
    )
  }

  /** Prints one event per line until Ctrl-C. */
  async #follow(first: EventDocument[], request: RequestOf<'event.list'>): Promise<{ events: EventDocument[] }> {
    const again = async (sinceAt: string): Promise<EventDocument[] | null> =>
      (await this.pause(FOLLOW_MILLISECONDS)) ? (await this.ask('event.list', { ...request, sinceAt })).events : null
    for await (const event of followEvents(first, request.sinceAt ?? '', again)) {
      await this.printLine(event, (screen) => eventLine(event, screen))
    }
    return { events: [] }
  }
}

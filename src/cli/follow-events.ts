import type { EventDocument } from '../protocol/control/documents.js'

/**
 * The events of `first`, then those that come after them, each once and in order, as long as `again` gives them. `again`
 * waits as long as it likes, and ends the whole with null.
 *
 * Events carry no number: several may have the same time, so those of the last time seen are remembered.
 */
export async function* followEvents(
  first: readonly EventDocument[],
  startAt: string,
  again: (sinceAt: string) => Promise<readonly EventDocument[] | null>,
): AsyncGenerator<EventDocument> {
  let sinceAt = startAt
  let seen = new Set<string>()
  let batch: readonly EventDocument[] | null = first
  while (batch !== null) {
    for (const event of [...batch].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))) {
      const text = JSON.stringify(event)
      if (event.at < sinceAt || seen.has(text)) continue
      if (event.at > sinceAt) seen = new Set()
      sinceAt = event.at
      seen.add(text)
      yield event
    }
    batch = await again(sinceAt)
  }
}

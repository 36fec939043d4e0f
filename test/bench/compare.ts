import { fio, type Load, type Rate } from './fio.js'
import type { Server } from './servers.js'

/** Medians of one server under one load. */
export interface Result {
  readonly server: string
  readonly median: Rate
  /** Smallest and largest rate of the rounds. */
  readonly lowest: number
  readonly highest: number
}

/** Puts the load on every server in turn, `rounds` times, so that what else the machine does hits all alike. */
export async function compare(servers: readonly Server[], load: Load, rounds: number): Promise<Result[]> {
  const rates = new Map<Server, Rate[]>(servers.map((server) => [server, []]))
  for (let round = 0; round < rounds; round++) {
    for (const server of servers) {
      await server.prepare?.()
      rates.get(server)!.push(await fio(server.uri, load))
      await server.settle?.()
    }
  }
  return [...rates].map(([server, seen]) => {
    const sorted = seen.map(({ perSecond }) => perSecond).sort((a, b) => a - b)
    return {
      server: server.name,
      median: {
        perSecond: median(sorted),
        p50Microseconds: median(seen.map(({ p50Microseconds }) => p50Microseconds)),
        p99Microseconds: median(seen.map(({ p99Microseconds }) => p99Microseconds)),
        meanMicroseconds: median(seen.map(({ meanMicroseconds }) => meanMicroseconds)),
      },
      lowest: sorted[0]!,
      highest: sorted.at(-1)!,
    }
  })
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

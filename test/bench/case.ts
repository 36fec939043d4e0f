import { compare, type Result } from './compare.js'
import type { Load } from './fio.js'
import type { Server } from './servers.js'

/** A comparison and the bars it is held to: the rate of one server, as a share of that of another. */
export interface Case {
  readonly name: string
  readonly servers: readonly Server[]
  readonly load: Load
  readonly bars: readonly Bar[]
}

interface Bar {
  readonly of: string
  readonly against: string
  readonly least: number
  /** What is compared: requests a second where not given, or how much shorter the mean response is. */
  readonly by?: 'rate' | 'response'
}

/** Runs a case, prints what came of it, and returns it. */
export async function runCase({ name, servers, load, bars }: Case, rounds: number): Promise<object> {
  const results = await compare(servers, load, rounds)
  const of = (server: string): Result => results.find((result) => result.server === server)!
  const base = of(bars[0]!.against).median.perSecond
  process.stdout.write(`\n${name} (median of ${rounds}, lowest to highest)\n`)
  for (const { server, median, lowest, highest } of results) {
    const share = `${((median.perSecond / base) * 100).toFixed(0)} %`
    const times = [median.meanMicroseconds, median.p50Microseconds, median.p99Microseconds]
    const [mean, p50, p99] = times.map((time) => `${time.toFixed(0)} us`)
    process.stdout.write(
      `  ${server.padEnd(22)} ${median.perSecond.toFixed(0).padStart(8)}/s  ${share.padStart(6)}` +
        `  (${lowest.toFixed(0)} to ${highest.toFixed(0)}; mean ${mean}, p50 ${p50}, p99 ${p99})\n`,
    )
  }
  const ratios = bars.map(({ of: one, against, least, by = 'rate' }) => {
    const [seen, other] = [of(one).median, of(against).median]
    const ratio = by === 'rate' ? seen.perSecond / other.perSecond : other.meanMicroseconds / seen.meanMicroseconds
    bar(`${one} / ${against}${by === 'rate' ? '' : ', mean response'}`, ratio, ratio >= least, '', `at least ${least}`)
    return { of: one, against, by, ratio, least }
  })
  return { name, results, ratios }
}

export function bar(name: string, value: number, met: boolean, unit: string, wanted: string): void {
  process.stdout.write(`${met ? 'met   ' : 'MISSED'} ${name}: ${value.toFixed(2)} ${unit} (${wanted})\n`)
}

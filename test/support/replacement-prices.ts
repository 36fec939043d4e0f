import { lru } from '../../src/engine/replacement/lru.js'
import type { ReplacementModule } from '../../src/engine/replacement/replacement.js'
import type { PageAccesses } from '../../src/trace/page-accesses.js'
import { simulate } from '../../src/trace/simulate.js'
import { simulateLaid } from '../../src/trace/simulate-laid.js'
import { type ReferenceCell, referenceCells } from './traces.js'

/** Chunks of the model log; fewer cost more. */
const PRICE_CHUNKS = 64
const FRACTIONS = ['0.01', '0.05', '0.1', '0.2']

/** What it costs to lay a policy on a log, on one trace at one size. Points are hundredths of the miss ratio; less is better. */
export interface ReplacementPrice {
  readonly cell: ReferenceCell
  readonly missPercent: number
  /** Against the policy's own exact form at equal capacity. */
  readonly pointsLost: number
  readonly pointsBehindLru: number
  readonly writtenPerAdmitted: number
}

/** The cells that prices are told for: sizes from 1 to 20 %, no cache of less than a page and a half a chunk. */
export function priceCells(): ReferenceCell[] {
  return referenceCells().filter(({ fraction, capacityPages }) => FRACTIONS.includes(fraction) && capacityPages >= 100)
}

export function priceOf(module: ReplacementModule, accesses: PageAccesses, cell: ReferenceCell): ReplacementPrice {
  const laid = simulateLaid(module, accesses, cell.capacityPages, PRICE_CHUNKS)
  const behind = (other: ReplacementModule): number =>
    100 * (laid.missRatio! - simulate(other.exact(cell.capacityPages), accesses).missRatio!)
  return {
    cell,
    missPercent: 100 * laid.missRatio!,
    pointsLost: behind(module),
    pointsBehindLru: behind(lru),
    writtenPerAdmitted: laid.writtenPerAdmitted!,
  }
}

export interface PriceSummary {
  readonly meanPointsLost: number
  readonly mostPointsLost: number
  readonly mostPointsBehindLru: number
  readonly meanWritten: number
  readonly mostWritten: number
}

export function summaryOf(prices: readonly ReplacementPrice[]): PriceSummary {
  const mean = (value: (price: ReplacementPrice) => number): number =>
    prices.reduce((sum, price) => sum + value(price), 0) / prices.length
  const most = (value: (price: ReplacementPrice) => number): number => Math.max(...prices.map(value))
  return {
    meanPointsLost: mean(({ pointsLost }) => pointsLost),
    mostPointsLost: most(({ pointsLost }) => pointsLost),
    mostPointsBehindLru: most(({ pointsBehindLru }) => pointsBehindLru),
    meanWritten: mean(({ writtenPerAdmitted }) => writtenPerAdmitted),
    mostWritten: most(({ writtenPerAdmitted }) => writtenPerAdmitted),
  }
}

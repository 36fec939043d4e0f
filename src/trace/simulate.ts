import type { ExactReplacement } from '../engine/replacement/replacement.js'
import type { PageAccesses } from './page-accesses.js'

export interface SimulationResult {
  readonly accesses: number
  readonly misses: number
  /** Null without accesses. */
  readonly missRatio: number | null
}

/** Runs a pure policy over a trace: reads and writes count alike, a miss inserts, first misses count too. */
export function simulate(policy: ExactReplacement, { pages }: Pick<PageAccesses, 'pages'>): SimulationResult {
  let misses = 0
  for (const page of pages) if (!policy.access(page)) misses++
  return { accesses: pages.length, misses, missRatio: pages.length === 0 ? null : misses / pages.length }
}

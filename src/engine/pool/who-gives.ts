/** What a log may expect of the pool that it shares with others. */
export interface Tenant {
  /** How much it counts beside others. */
  readonly weight: number
  readonly minChunks: number
}

/** A tenant that has chunks. */
export interface Holder extends Tenant {
  readonly chunks: number
}

/**
 * Who gives a chunk up when none is free: the one that is furthest above its part by weight, where somebody has less than its own, or is being
 * opened and has none yet. Undefined where nobody should.
 */
export function whoGives<H extends Holder>(
  holders: readonly H[],
  opening: readonly Tenant[],
  usableChunks: number,
): H | undefined {
  const weight = [...holders, ...opening].reduce((sum, tenant) => sum + tenant.weight, 0)
  const above = ({ chunks, weight: own, minChunks }: H): number =>
    chunks - Math.max(own > 0 ? (usableChunks * own) / weight : 0, minChunks)
  let most: H | undefined
  let isWanted = opening.length > 0
  for (const holder of holders) {
    isWanted ||= above(holder) < 0
    if (most === undefined || above(holder) > above(most)) most = holder
  }
  return isWanted && most !== undefined && above(most) >= 1 ? most : undefined
}

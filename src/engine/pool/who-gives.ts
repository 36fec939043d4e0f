/** What a log may expect of the pool that it shares with others. */
export interface Tenant {
  readonly shares: number
  readonly minChunks: number
}

/** A tenant that has chunks. */
export interface Holder extends Tenant {
  readonly chunks: number
}

/**
 * Who gives a chunk up when none is free: the one that is furthest above its part by shares, where somebody has less than its own, or is being
 * opened and has none yet. Undefined where nobody should.
 */
export function whoGives<H extends Holder>(
  holders: readonly H[],
  opening: readonly Tenant[],
  usableChunks: number,
): H | undefined {
  const shares = [...holders, ...opening].reduce((sum, tenant) => sum + tenant.shares, 0)
  const above = (holder: H): number =>
    holder.chunks - Math.max((usableChunks * holder.shares) / shares, holder.minChunks)
  let most: H | undefined
  let isWanted = opening.length > 0
  for (const holder of holders) {
    isWanted ||= above(holder) < 0
    if (most === undefined || above(holder) > above(most)) most = holder
  }
  return isWanted && most !== undefined && above(most) >= 1 ? most : undefined
}

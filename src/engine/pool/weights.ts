/** What its gain makes of the shares of a disk, at the least and at the most. */
const LEAST = 1 / 4
const MOST = 4
/** Hits a second for one more chunk that make no difference. */
const NOISE = 0.01

export interface Weighed {
  readonly shares: number
  /** Hits a second that one more chunk would bring; undefined where that is not known. */
  readonly gain: number | undefined
  /** Nobody has wanted anything of it for long. */
  readonly isIdle: boolean
}

/**
 * How much each disk counts when room is divided: its shares, times what it would gain with more room beside what the disks would gain on average. So room
 * goes where it brings most, and an equal gain leaves the shares as they are. One that is idle counts nothing.
 */
export function weightsOf(disks: readonly Weighed[]): number[] {
  const known = disks.filter(({ shares, gain, isIdle }) => shares > 0 && gain !== undefined && !isIdle)
  const shares = known.reduce((sum, disk) => sum + disk.shares, 0)
  const mean = known.reduce((sum, { gain, shares }) => sum + gain! * shares, 0) / shares
  return disks.map(({ shares, gain, isIdle }) => {
    if (isIdle || shares === 0) return 0
    if (gain === undefined) return shares
    return shares * Math.min(MOST, Math.max(LEAST, (gain + NOISE) / (mean + NOISE)))
  })
}

import { MINIMUM_SHARE_CHUNKS } from '../../model/geometry.js'

/** What a disk is promised of its cache, and how much it weighs beside others. */
export interface Share {
  /** In chunks. */
  readonly minimum: number
  readonly shares: number
}

/**
 * The part of each disk when `chunks` are divided: what it is promised, and of the rest what its shares say. Undefined where not even what is
 * promised is there.
 */
export function partsOf(disks: readonly Share[], chunks: number): number[] | undefined {
  const promised = disks.map(({ minimum }) => Math.max(minimum, MINIMUM_SHARE_CHUNKS))
  const rest = chunks - promised.reduce((sum, each) => sum + each, 0)
  if (rest < 0) return undefined
  const shares = disks.reduce((sum, disk) => sum + disk.shares, 0)
  return disks.map((disk, index) => promised[index]! + Math.floor((rest * disk.shares) / shares))
}

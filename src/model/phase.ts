/** What a disk's phase was found from: nothing, a partition table, the first requests, or the log that it had before. */
export type PhaseSource = 'none' | 'partitions' | 'traffic' | 'log'

/** Sectors, 0 to 7, that are added to an offset of a disk before it is divided into pages. */
export interface DiskPhase {
  readonly sectors: number
  readonly source: PhaseSource
}

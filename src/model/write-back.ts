/**
 * How what is dirty goes to the origin. *ordered*: one span between two barriers at a time, so that the origin alone is always a state in
 * which a power cut could have left the disk. *relaxed*: many spans at a time; until a step is done the origin alone is not consistent.
 */
export const DESTAGE_ORDERS = ['ordered', 'relaxed'] as const
export type DestageOrder = (typeof DESTAGE_ORDERS)[number]

/** What divides two spans at the origin: a flush of it, or its answers, with a flush once a second. */
export const DESTAGE_BARRIERS = ['flush', 'answer'] as const
export type DestageBarrier = (typeof DESTAGE_BARRIERS)[number]

/** Settings of a disk in write-back; null stands for the default, a part of what its log may hold. */
export interface WriteBackSettings {
  readonly order: DestageOrder
  readonly barrier: DestageBarrier
  /** From here on what is dirty is written to the origin as fast as the guest leaves room. */
  readonly dirtyLowBytes: number | null
  /** Writers are slowed so that it never gets to this. */
  readonly dirtyHighBytes: number | null
  /** What is older is written to the origin, however little it is. */
  readonly dirtyAgeSeconds: number
}

export const DEFAULT_WRITE_BACK: WriteBackSettings = {
  order: 'ordered',
  barrier: 'flush',
  dirtyLowBytes: null,
  dirtyHighBytes: null,
  dirtyAgeSeconds: 10,
}

/** From what a disk goes on whose cache and origin do not fit together. */
export const DISK_PARTS = ['cache', 'origin'] as const
export type DiskPart = (typeof DISK_PARTS)[number]

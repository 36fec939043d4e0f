/**
 * engine/replacement/: replacement policies. One file per policy, all of them in the table of modules.ts.
 *
 * A policy has two forms. The *exact* form is the textbook algorithm over keys; simulations run it and compare others
 * with it. The *laid* form is the same policy laid on an append-only log: the log reclaims its oldest chunk, and the
 * policy says of each live page in it whether it is appended again or dropped. All that it may keep for a page is one
 * byte of *heat* in the index, plus a bounded memory of pages that left (ghosts) of its own: 2 bytes for each page of
 * capacity at most. Its functions are on the data path: tens of nanoseconds, and nothing allocated but by `resized`.
 *
 * What laying a policy on one log costs: a page that nobody reads still takes its slot for a whole lap of the log, so
 * nothing is demoted quickly; dead versions of overwritten pages take room; and what stays is written again. A heat byte
 * may come from another policy (a disk's policy can be changed while it runs): any value must do.
 */
export interface ExactReplacement {
  /** Touches `key`, an unsigned 32-bit number; returns whether it was resident. A miss inserts it, evicting if full. */
  access(key: number): boolean
  remove(key: number): void
  /** Keys resident now; at most the capacity. */
  readonly size: number
}

export interface LaidReplacement {
  /** Pages that came back soon after they had left, so far: with more room they would have been hits. Absent where it remembers none that left. */
  readonly returns?: number
  /** Heat of a page that enters the cache by a fill or a guest's write. */
  inserted(page: number): number
  /** New heat of a cached page that was read or overwritten. */
  hit(heat: number): number
  /**
   * Said before the live pages of a chunk are asked for: how many of its `chunkPages` slots are still live, and whether they move because
   * their device is emptied: what is worth a slot is worth its copy then. A log that does not say it is taken for one without dead slots.
   */
  reclaiming?(livePages: number, chunkPages: number, isMove: boolean): void
  /**
   * Asked once for each live page of the chunk that is reclaimed, oldest first: the heat with which the page is appended again,
   * or -1 to drop it. After a round in which nothing could be dropped the log drops whatever it must.
   */
  reclaimed(page: number, heat: number): number
  /** The number of pages that the log can hold has changed. */
  resized(capacityPages: number): void
}

export interface ReplacementModule {
  readonly name: string
  /** One line for help texts. */
  readonly summary: string
  exact(capacity: number): ExactReplacement
  laid(capacityPages: number): LaidReplacement
}

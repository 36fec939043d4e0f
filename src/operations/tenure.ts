/**
 * Can anybody else have written an origin since this host's tenure of it ended?
 *
 * The rows are tried from the top; the first that fits decides.
 *
 * | the origin | the tenure ended | decision |
 * | --- | --- | --- |
 * | is not there | | waiting |
 * | has another kind, size or inode, or (nothing is remembered) none to compare with | | changed |
 * | carries another stamp than it was left with, or none, or one of another epoch | | changed |
 * | file, modified before what was remembered of it | | changed: something older was put in its place |
 * | file | clean | trusted if its time is the one remembered, else changed |
 * | file | killed at T | trusted if modified by T, else changed |
 * | file | power cut, or lost with its supervisor, last frame at T | trusted if modified by T + 5 s, else changed |
 * | any | nobody knows when | trusted if exclusive, else changed |
 * | block device, NBD | clean or killed, and held ever since | trusted |
 * | block device, NBD | otherwise | trusted if exclusive, else changed |
 *
 * A clean tenure asks for the very same time, not only for none later: an older image that was copied over this one with its
 * times (`cp -p`, `rsync -t`) has another content and an earlier time.
 */

/** Nanoseconds since 1970. */
export type Nanoseconds = bigint

/** How this host ceased to be the only writer; times are in this host's clock. */
export type TenureEnd =
  | { readonly how: 'clean' }
  | { readonly how: 'killed'; readonly at: Nanoseconds }
  /** `lastFrameAt`: when the log says that the disk was written last; null where it cannot. */
  | { readonly how: 'power-cut' | 'lost'; readonly lastFrameAt: Nanoseconds | null }

export interface RecordedTenure {
  readonly kind: 'file' | 'block' | 'nbd'
  /** Null where the origin carries no stamp. */
  readonly stamp: { readonly id: string; readonly epoch: number } | null
  readonly sizeBytes: number
  readonly inode: string | null
  /** The origin's own time when it was seen last: at a clean end, else at its beginning. Null where it shows none. */
  readonly modifiedAt: Nanoseconds | null
  readonly end: TenureEnd
  /** Whether the same supervisor has held sockets and locks from that end until now. */
  readonly heldSince: boolean
}

export interface SeenOrigin {
  readonly kind: 'file' | 'block' | 'nbd'
  readonly stamp: { readonly id: string; readonly epoch: number } | null
  readonly sizeBytes: number
  readonly inode: string | null
  readonly modifiedAt: Nanoseconds | null
}

export type TenureDecision = 'trusted' | 'waiting' | { readonly changed: true; readonly reason: string }

/** What a write that was under way at a power cut may be later than the last frame that is found. */
const POWER_CUT_MARGIN: Nanoseconds = 5_000_000_000n

const changed = (reason: string): TenureDecision => ({ changed: true, reason })

/**
 * Decides by the table above. `seen` is null where the origin is not there; `recorded` where nothing is remembered of it.
 * `clockAhead` is how far the origin's clock is ahead of this host's.
 */
export function judgeTenure(
  recorded: RecordedTenure | null,
  seen: SeenOrigin | null,
  options: { readonly isExclusive: boolean; readonly clockAhead?: Nanoseconds },
): TenureDecision {
  if (seen === null) return 'waiting'
  if (recorded === null) return changed('nothing is remembered of the origin')
  if (seen.kind !== recorded.kind) return changed(`the origin was of kind ${recorded.kind}, it is ${seen.kind}`)
  if (seen.sizeBytes !== recorded.sizeBytes) {
    return changed(`the origin had ${recorded.sizeBytes} bytes, it has ${seen.sizeBytes}`)
  }
  if (seen.inode !== recorded.inode) return changed('the image is another file now')
  if (seen.stamp?.id !== recorded.stamp?.id || seen.stamp?.epoch !== recorded.stamp?.epoch) {
    return changed('the stamp beside the image is not the one that was left there')
  }
  const unproved = (reason: string): TenureDecision => (options.isExclusive ? 'trusted' : changed(reason))
  if (seen.modifiedAt === null) {
    if (recorded.heldSince && ['clean', 'killed'].includes(recorded.end.how)) return 'trusted'
    return unproved('the storage does not show whether it was written meanwhile')
  }
  if (recorded.modifiedAt !== null && seen.modifiedAt < recorded.modifiedAt) {
    return changed('something older was put in the place of the image')
  }
  const until = lastOwnWrite(recorded, options.clockAhead ?? 0n)
  if (until === null) return unproved('nobody knows when this host wrote the image last')
  return seen.modifiedAt <= until ? 'trusted' : changed('the image was modified since')
}

/** The latest time, in the origin's clock, that a write of ours can have left; null where nobody knows. */
function lastOwnWrite({ end, modifiedAt }: RecordedTenure, clockAhead: Nanoseconds): Nanoseconds | null {
  switch (end.how) {
    case 'clean':
      return modifiedAt
    case 'killed':
      return end.at + clockAhead
    case 'power-cut':
    case 'lost':
      return end.lastFrameAt === null ? null : end.lastFrameAt + POWER_CUT_MARGIN + clockAhead
  }
}

import type { FoundLog } from '../engine/engine.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import type { ControlPlane } from './control-plane.js'
import type { LeasedDisk } from './lease.js'
import type { ObservedOrigin } from './observe-origin.js'
import type { PreviousEnd } from './previous-end.js'
import type { Stamp } from './stamps.js'

/** Whether the clean pages of a log are still what the origin holds; `reason` says why not. */
export type Verdict = { readonly trusted: true } | { readonly trusted: false; readonly reason: string }

const trusted: Verdict = { trusted: true }
const changed = (reason: string): Verdict => ({ trusted: false, reason })

export interface Evidence {
  /** What is remembered; null where nothing is. */
  readonly tenure: TenureRecord | null
  readonly seen: ObservedOrigin
  /** The stamp as it was found. */
  readonly stamp: Stamp | null
  /** Nobody else ever writes the origin: the administrator says so. */
  readonly isExclusive: boolean
  /** The epoch of the lease now. */
  readonly epoch: number
  readonly log: Pick<FoundLog, 'epoch'> | null
}

/**
 * Can anybody else have written the origin since this host's tenure ended? Without proof that nobody has, the answer is yes: a
 * clean page that is dropped costs a read, one that is stale costs the guest its data.
 */
export function judge({ tenure, seen, stamp, isExclusive, epoch, log }: Evidence): Verdict {
  if (tenure === null) return changed('nothing is remembered of the origin')
  if (log !== null && log.epoch < epoch) return changed('the disk was served without its log')
  if (seen.sizeBytes !== null && seen.sizeBytes !== tenure.sizeBytes) {
    return changed(`the origin had ${tenure.sizeBytes} bytes, it has ${seen.sizeBytes}`)
  }
  if (seen.inode !== tenure.inode) return changed('the image is another file now')
  if (tenure.stampId !== null && (stamp?.id !== tenure.stampId || stamp.epoch !== tenure.epoch)) {
    return changed('the stamp beside the image is not the one that was left there')
  }
  if (isExclusive) return trusted
  return seen.kind === 'file' ? judgeTimes(tenure, seen) : judgeEnding(tenure)
}

/** A file shows when it was written last. */
function judgeTimes({ ending, endedAt, modifiedAt }: TenureRecord, seen: ObservedOrigin): Verdict {
  const until = ending === 'clean' ? modifiedAt : ending === 'killed' && endedAt !== null ? nanoseconds(endedAt) : null
  if (until === null) return changed('nobody saw when this host wrote the image last')
  if (seen.modifiedAt !== null && BigInt(seen.modifiedAt) <= BigInt(until)) return trusted
  return changed('the image was modified since')
}

/** Block devices and NBD exports show no times. */
function judgeEnding({ ending }: TenureRecord): Verdict {
  if (ending === 'clean' || ending === 'killed') return trusted
  return changed('the storage does not show whether it was written since; see --exclusive')
}

function nanoseconds(at: string): string {
  return String(BigInt(Date.parse(at)) * 1_000_000n)
}

/** What is remembered while the disk is served: an engine that finds it so knows that its predecessor did not end well. */
export function openTenure(
  plane: ControlPlane,
  record: LeasedDisk,
  seen: ObservedOrigin,
  stampId: string | null,
  epoch: number,
): TenureRecord {
  const remembered = plane.inventory.tenures.get(record.name)
  return {
    host: plane.host.id,
    disk: record.name,
    origin: record.lease,
    stampId,
    epoch,
    sizeBytes: seen.sizeBytes ?? remembered?.sizeBytes ?? 0,
    inode: seen.inode,
    modifiedAt: null,
    ending: 'open',
    endedAt: null,
  }
}

/** A tenure that was found open ended with the engine before this one, as its supervisor saw it. */
export function endedWith(tenure: TenureRecord, previous: PreviousEnd): TenureRecord {
  if (tenure.ending !== 'open') return tenure
  // Under another supervisor the sockets and locks were free for a while: nobody vouches for that time.
  const isSeen = previous.kind === 'killed' && previous.sameSupervisor
  // An engine that closed everything would have written that down here: it could not, so the end is not known.
  const ending = isSeen ? 'killed' : previous.kind === 'power-cut' ? 'power-cut' : 'lost'
  return { ...tenure, ending, endedAt: isSeen ? previous.at : null }
}

/**
 * Ends the tenure of a disk whose origin has everything and is not written any more. The time is the origin's own, read back after our
 * last write.
 */
export async function endTenure(plane: ControlPlane, record: DiskRecord): Promise<void> {
  const { clock, inventory, observe, state } = plane
  const tenure = inventory.tenures.get(record.name)
  if (tenure === undefined) return
  const seen = await observe(record.origin).catch(() => null)
  const ended: TenureRecord = {
    ...tenure,
    modifiedAt: seen?.modifiedAt ?? null,
    ending: seen === null ? 'lost' : 'clean',
    endedAt: new Date(clock.now()).toISOString(),
  }
  await state.tenures.save(ended)
  inventory.tenures.set(record.name, ended)
}

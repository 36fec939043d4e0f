import { stat } from 'node:fs/promises'
import type { FoundLog } from '../engine/engine.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { TenureRecord } from '../state/tenure-store.js'
import type { ControlPlane } from './control-plane.js'
import type { LeasedDisk } from './lease.js'
import type { ObservedOrigin } from './observe-origin.js'
import type { PreviousEnd } from './previous-end.js'
import { stampPath } from './stamp.js'
import type { Stamp } from './stamps.js'
import { judgeTenure, type RecordedTenure, type TenureEnd } from './tenure.js'

/** Clocks that differ less are taken for one: times of files are rounded, and a call takes its time. */
const SAME_CLOCK_NANOSECONDS = 1_000_000_000n

export interface Evidence {
  /** What is remembered; null where nothing is. */
  readonly tenure: TenureRecord | null
  readonly seen: ObservedOrigin
  /** The stamp as it was found. */
  readonly stamp: Stamp | null
  readonly isExclusive: boolean
  /** Of the lease now. */
  readonly epoch: number
  readonly log: Pick<FoundLog, 'epoch'> | null
  /** When the newest frame of the log was written, in milliseconds since 1970; null where that is not known. */
  readonly newestFrameAt: number | null
}

/** Why the clean pages of the log may not be what the origin holds; null where they are. */
export function whyChanged({ tenure, seen, stamp, isExclusive, epoch, log, newestFrameAt }: Evidence): string | null {
  if (tenure !== null && log !== null && log.epoch < epoch) return 'the disk was served without its log'
  const decision = judgeTenure(
    tenure === null ? null : remembered(tenure, newestFrameAt),
    {
      kind: seen.kind,
      stamp: stamp === null ? null : { id: stamp.id, epoch: stamp.epoch },
      // The size of an export is known only once it is served.
      sizeBytes: seen.sizeBytes ?? tenure?.sizeBytes ?? 0,
      inode: seen.inode,
      modifiedAt: seen.modifiedAt === null ? null : BigInt(seen.modifiedAt),
    },
    { isExclusive, clockAhead: tenure === null ? 0n : BigInt(tenure.clockAhead) },
  )
  if (decision === 'trusted') return null
  return decision === 'waiting' ? 'the origin is not there' : decision.reason
}

function remembered(tenure: TenureRecord, newestFrameAt: number | null): RecordedTenure {
  const { kind, sizeBytes, inode, stampId, epoch, modifiedAt, held } = tenure
  return {
    kind,
    stamp: stampId === null ? null : { id: stampId, epoch },
    sizeBytes,
    inode,
    modifiedAt: modifiedAt === null ? null : BigInt(modifiedAt),
    end: endOf(tenure, newestFrameAt),
    heldSince: held,
  }
}

/** Whether the end of a tenure is known only by what the log says. */
export function endedUnseen({ ending, endedAt }: TenureRecord): boolean {
  return endedAt === null && ending !== 'clean'
}

function endOf({ ending, endedAt }: TenureRecord, newestFrameAt: number | null): TenureEnd {
  const at = endedAt === null ? null : nanoseconds(Date.parse(endedAt))
  const lastFrameAt = at ?? (newestFrameAt === null ? null : nanoseconds(newestFrameAt))
  switch (ending) {
    case 'clean':
      return { how: 'clean' }
    case 'killed':
      return at === null ? { how: 'lost', lastFrameAt } : { how: 'killed', at }
    case 'power-cut':
      return { how: 'power-cut', lastFrameAt }
    case 'lost':
    case 'open':
      return { how: 'lost', lastFrameAt }
  }
}

/** What is remembered while the disk is served: an engine that finds it so knows that its predecessor did not end well. */
export async function openTenure(
  plane: ControlPlane,
  record: LeasedDisk,
  seen: ObservedOrigin,
  stampId: string | null,
  epoch: number,
): Promise<TenureRecord> {
  return {
    host: plane.host.id,
    disk: record.name,
    origin: record.lease,
    stampId,
    epoch,
    kind: seen.kind,
    sizeBytes: seen.sizeBytes ?? plane.inventory.tenures.get(record.name)?.sizeBytes ?? 0,
    inode: seen.inode,
    modifiedAt: seen.modifiedAt,
    clockAhead: String(stampId === null ? 0n : await clockAhead(plane, seen.uri)),
    ending: 'open',
    endedAt: null,
    held: true,
    lacksWrites: false,
  }
}

/** How far the clock of the storage is ahead of ours, by the stamp that was written just now. */
async function clockAhead({ clock }: ControlPlane, image: string): Promise<bigint> {
  const status = await stat(stampPath(image), { bigint: true }).catch(() => null)
  if (status === null) return 0n
  const ahead = status.mtimeNs - nanoseconds(clock.now())
  return ahead > -SAME_CLOCK_NANOSECONDS && ahead < SAME_CLOCK_NANOSECONDS ? 0n : ahead
}

function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.trunc(milliseconds)) * 1_000_000n
}

/** A tenure as the engine after it finds it: one that is open ended with its engine, as the supervisor saw it. */
export function foundTenure(tenure: TenureRecord, previous: PreviousEnd): TenureRecord {
  const held = tenure.held && previous.sameSupervisor
  if (tenure.ending !== 'open') return { ...tenure, held }
  // An engine that closed well would have ended it. Where it could not write that down its writes ended with it all the same.
  const ending = previous.kind === 'clean' ? 'killed' : previous.kind === 'none' ? 'lost' : previous.kind
  return { ...tenure, ending, endedAt: previous.at, held }
}

/**
 * Ends the tenure of a disk whose origin has everything and is not written any more. The time is the origin's own, read back after our
 * last write.
 */
export async function endTenure(plane: ControlPlane, record: DiskRecord): Promise<void> {
  const { clock, inventory, observe, state } = plane
  const tenure = inventory.tenures.get(record.name)
  if (tenure === undefined) return
  const endedAt = new Date(clock.now()).toISOString()
  const seen = await observe(record.origin).catch(() => null)
  const ended: TenureRecord =
    seen === null
      ? { ...tenure, ending: 'lost', endedAt }
      : { ...tenure, ending: 'clean', endedAt, modifiedAt: seen.modifiedAt }
  await state.tenures.save(ended)
  inventory.tenures.set(record.name, ended)
}

import type { Superblock, SuperblockDevice } from '../../format/superblock.js'

/**
 * Which devices a cache has.
 *
 * Every superblock lists all of them, and they cannot be written at once. What counts is the list of the superblock with the highest
 * `openCount`; of equal ones the longest. A change of the list is a *change of members*: it raises `openCount` and is written to one device
 * after the other, each on stable storage before the next is begun. A crash between two of them leaves some devices with the new list, the
 * others with the old, lower one. The next opening finds the new one, and writes it to all that it names. That this is always right follows
 * from the order:
 *
 * - *Adding a device.* The new device is written first, then the state database names it, then the other devices are written. Its chunks are
 *   handed out when that is done. Before the database names it, the others alone are opened, by the old list; the new device holds nothing.
 *   After that it is opened with them, by the new list.
 * - *Removing one.* It gives up all its chunks first. Then the others are written, then the state database forgets it, then it is
 *   erased. While the database names it, it is opened with them: by the old list all of its chunks are free; by the new one it is left out.
 *   It is never erased before the database forgot it.
 *
 * Two lists are equally new only where one of them never took hold: a device was added, the database did not name it yet when the engine died,
 * and the others were opened without it. The longer list names it; it has nothing, so both are right.
 */
export interface Membership<Member> {
  /** Those found that the list names, in its order. */
  readonly members: readonly Member[]
  /** What the list names and was not found. */
  readonly missing: readonly SuperblockDevice[]
  /** Those found that the list does not name. */
  readonly leftOut: readonly Member[]
  readonly list: readonly SuperblockDevice[]
  readonly openCount: number
}

/** @param found superblocks of one cache, at least one; each device once */
export function membershipOf<Member extends { readonly superblock: Superblock }>(
  found: readonly Member[],
): Membership<Member> {
  const { devices: list, openCount } = found
    .map(({ superblock }) => superblock)
    .reduce((best, each) => (isNewer(each, best) ? each : best))
  const byId = new Map(found.map((member) => [member.superblock.deviceId, member]))
  return {
    members: list.flatMap(({ id }) => byId.get(id) ?? []),
    missing: list.filter(({ id }) => !byId.has(id)),
    leftOut: found.filter(({ superblock }) => !list.some(({ id }) => id === superblock.deviceId)),
    list,
    openCount,
  }
}

function isNewer(superblock: Superblock, than: Superblock): boolean {
  if (superblock.openCount !== than.openCount) return superblock.openCount > than.openCount
  return superblock.devices.length > than.devices.length
}

/** The superblock of a device of the list, to be written next. */
export function superblockOf(
  superblock: Superblock,
  { list, openCount }: Pick<Membership<unknown>, 'list' | 'openCount'>,
): Superblock {
  const deviceIndex = list.findIndex(({ id }) => id === superblock.deviceId)
  return { ...superblock, deviceIndex, deviceCount: list.length, devices: list, openCount }
}

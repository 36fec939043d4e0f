/**
 * The fault model of a watched file. A write takes effect in the page cache (or, with O_DIRECT, in the device's own cache) between its
 * begin and its end; nothing of it is on the medium for certain until a sync covers it. A sync that ended covers
 * - fsync, fdatasync: every write to the file that had ended when it began;
 * - a write with RWF_DSYNC: itself; of the writes that had ended when it began, the sectors in its range, and those that a `push`
 *   sent to the device which had ended by then (it flushes the device's cache). A push alone covers nothing.
 *
 * A sync that did not end, or failed, covers nothing. At a power cut every other sector of every write that had begun is there or is not, each for
 * itself, whatever became of earlier and later ones: the medium orders nothing. Of two versions that are there the later is found; a version older than one
 * that a sync covered does not return. Zeroes are writes of zeroes.
 */
import type { Random } from '../../../src/base/random.js'
import { SECTOR_BYTES } from '../../../src/model/geometry.js'
import type { RecordedCall, RecordedEvent } from './read-record.js'

/** What a call put into one sector; null for zeroes. */
interface Version {
  readonly sector: number
  readonly call: RecordedCall
  readonly bytes: Buffer | null
  /** Sent to the device. */
  pushed: boolean
}

/** Sectors by number; what is not named is as it was in the beginning. Null for zeroes. */
export type ChangedSectors = Map<number, Buffer | null>

/** How much survives of what no sync covered. A medium writes what is old, as a rule, and may write anything. */
export interface Survival {
  /** Of 100 writes, from the oldest on, so many are there; what follows goes for the others. */
  readonly oldest: number
  /** Of 100 writes so many are there, and so many are there with a random half of their sectors. */
  readonly whole: number
  readonly torn: number
}

const REST: readonly Omit<Survival, 'oldest'>[] = [
  { whole: 0, torn: 0 },
  { whole: 30, torn: 40 },
  { whole: 90, torn: 5 },
  { whole: 10, torn: 5 },
  { whole: 0, torn: 100 },
]

/** Often nothing or everything, which is what goes together worst with the opposite on another medium. */
export function randomSurvival(random: Random): Survival {
  const oldest = [0, 100, random.below(101)][random.below(3)]!
  return { oldest, ...REST[random.below(REST.length)]! }
}

export class StorageModel {
  readonly #stable: ChangedSectors = new Map()
  /** Versions that no sync covered, oldest first. */
  readonly #pending = new Map<number, Version[]>()
  /** What a sync under way will cover when it ends. */
  readonly #covering = new Map<RecordedCall, Version[]>()

  apply({ call, what }: RecordedEvent): void {
    if (what === 'began') this.#begin(call)
    else this.#end(call)
  }

  #begin(call: RecordedCall): void {
    const hasEnded = (version: Version): boolean => version.call.endedAt <= call.beganAt
    const isWithin = ({ sector }: Version): boolean =>
      sector * SECTOR_BYTES >= call.offset && sector * SECTOR_BYTES < call.offset + call.length
    switch (call.kind) {
      case 'write':
      case 'zeroes':
        this.#write(call)
        break
      case 'push':
        this.#covering.set(
          call,
          this.#select((version) => hasEnded(version) && isWithin(version)),
        )
        break
      case 'sync':
        this.#covering.set(call, this.#select(hasEnded))
        break
      case 'durableWrite': {
        const covered = this.#select((version) => (hasEnded(version) && isWithin(version)) || version.pushed)
        this.#covering.set(call, [...covered, ...this.#write(call)])
      }
    }
  }

  #end(call: RecordedCall): void {
    const covered = this.#covering.get(call)
    if (covered === undefined) return
    this.#covering.delete(call)
    for (const version of covered) {
      if (call.kind === 'push') version.pushed = true
      else this.#settle(version)
    }
  }

  #write(call: RecordedCall): Version[] {
    if (call.offset % SECTOR_BYTES !== 0 || call.length % SECTOR_BYTES !== 0) {
      throw new Error(`a ${call.kind} of ${call.length} bytes at ${call.offset} is not made of whole sectors`)
    }
    const versions: Version[] = []
    for (let done = 0; done < call.length; done += SECTOR_BYTES) {
      const sector = (call.offset + done) / SECTOR_BYTES
      const bytes = call.bytes?.subarray(done, done + SECTOR_BYTES) ?? null
      const version = { sector, call, bytes, pushed: false }
      const pending = this.#pending.get(sector)
      if (pending === undefined) this.#pending.set(sector, [version])
      else pending.push(version)
      versions.push(version)
    }
    return versions
  }

  #select(chosen: (version: Version) => boolean): Version[] {
    const selected: Version[] = []
    for (const versions of this.#pending.values()) selected.push(...versions.filter(chosen))
    return selected
  }

  #settle(version: Version): void {
    const { sector, bytes } = version
    const pending = this.#pending.get(sector)
    const index = pending?.indexOf(version) ?? -1
    // A later version of the sector was settled before.
    if (pending === undefined || index === -1) return
    this.#stable.set(sector, bytes)
    pending.splice(0, index + 1)
    if (pending.length === 0) this.#pending.delete(sector)
  }

  /** What is found after a power cut now. */
  cut(random: Random, { oldest, whole, torn }: Survival): ChangedSectors {
    const found: ChangedSectors = new Map(this.#stable)
    const calls = new Set([...this.#pending.values()].flatMap((versions) => versions.map(({ call }) => call)))
    const inOrder = [...calls].sort((left, right) => left.beganAt - right.beganAt)
    const fates = new Map<RecordedCall, 'whole' | 'torn' | 'none'>()
    for (const [index, call] of inOrder.entries()) {
      const isOld = index * 100 < oldest * inOrder.length
      const chance = random.below(100)
      fates.set(call, isOld || chance < whole ? 'whole' : chance < whole + torn ? 'torn' : 'none')
    }
    for (const [sector, versions] of this.#pending) {
      for (const { call, bytes } of versions) {
        const fate = fates.get(call)
        if (fate === 'whole' || (fate === 'torn' && random.below(2) === 0)) found.set(sector, bytes)
      }
    }
    return found
  }
}

/** What a file holds when every write of its record took effect, but for the sectors of those that never ended. */
export function replay(events: readonly RecordedEvent[]): { sectors: ChangedSectors; unknown: Set<number> } {
  const sectors: ChangedSectors = new Map()
  const unknown = new Set<number>()
  for (const { call, what } of events) {
    if (what !== 'began' || call.kind === 'push' || call.kind === 'sync') continue
    for (let done = 0; done < call.length; done += SECTOR_BYTES) {
      const sector = (call.offset + done) / SECTOR_BYTES
      sectors.set(sector, call.bytes?.subarray(done, done + SECTOR_BYTES) ?? null)
      if (call.endedAt === Infinity) unknown.add(sector)
    }
  }
  return { sectors, unknown }
}

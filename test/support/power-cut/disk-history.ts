import { SECTORS_PER_PAGE } from '../../../src/model/geometry.js'
import { FOREIGN, nameOf, ZEROES } from './stamps.js'
import { now } from './read-record.js'

/** A write, zeroing or trim that the client sent. Times are those of {@link now}. */
export interface Change {
  /** What its sectors hold afterwards. */
  readonly stamp: number
  readonly first: number
  readonly count: number
  readonly sentAt: number
  /** Infinity where it was not answered. */
  answeredAt: number
  readonly fua: boolean
}

export interface Flush {
  readonly sentAt: number
  answeredAt: number
}

/** What was in a sector before all changes. */
const BEFORE = { sentAt: -Infinity, answeredAt: -Infinity, first: 0, count: 0, fua: true }
/** At most so many faults are told. */
const MOST_FAULTS = 8

/**
 * What a client sent to a disk, and what it was answered, in a time at whose beginning all of the disk was known and on stable storage. No two changes of a
 * sector were under way together, so the versions of each sector have one order.
 */
export class DiskHistory {
  readonly #changes = new Map<number, Change[]>()
  readonly #flushes: Flush[] = []
  readonly #coveredAt = new Map<Change, number>()
  #lastStamp: number

  /** `before`: the stamp of each sector. */
  constructor(readonly before: Int32Array) {
    this.#lastStamp = before.reduce((most, stamp) => Math.max(most, stamp), 0)
  }

  /** A change is about to be sent. */
  begin(first: number, count: number, what: { readonly zeroes: boolean; readonly fua: boolean }): Change {
    const stamp = what.zeroes ? ZEROES : ++this.#lastStamp
    const change: Change = { stamp, first, count, sentAt: now(), answeredAt: Infinity, fua: what.fua }
    for (let sector = first; sector < first + count; sector++) {
      const changes = this.#changes.get(sector)
      if (changes === undefined) this.#changes.set(sector, [change])
      else changes.push(change)
    }
    return change
  }

  beginFlush(): Flush {
    const flush = { sentAt: now(), answeredAt: Infinity }
    this.#flushes.push(flush)
    return flush
  }

  /** When flushes and writes with FUA were answered. */
  barriers(): number[] {
    const fua = new Set([...this.#changes.values()].flat().filter((change) => change.fua))
    return [...this.#flushes, ...fua].map(({ answeredAt }) => answeredAt).filter(Number.isFinite)
  }

  /** A change or a flush was answered. */
  end(request: Change | Flush): void {
    request.answeredAt = now()
  }

  /**
   * Why a power cut at `cutAt` cannot have left the disk with these stamps, by the rules that every disk with a volatile cache keeps: a
   * sector holds what a flush or FUA covered, or something later that had been sent. Empty where it can.
   */
  faultsAfterPowerCut(found: Int32Array, cutAt: number): string[] {
    const faults: string[] = []
    this.#eachSector(found, (sector, stamp) => {
      const versions = this.#versions(sector, cutAt)
      const candidates = candidatesOf(versions, stamp)
      const isLegal = candidates.some((index) =>
        versions.slice(index + 1).every((later) => this.#covered(later) > cutAt),
      )
      if (isLegal) return
      const known = candidates.length === 0 ? whyUnknown(stamp) : 'a later version was flushed'
      faults.push(`sector ${sector} holds ${nameOf(stamp)}: ${known}; ${this.#describe(versions, cutAt)}`)
    })
    return faults.slice(0, MOST_FAULTS)
  }

  /**
   * Why these stamps are no state that a power cut at some moment up to `cutAt` could have left the disk in. It is what an origin must be while a log
   * holds later writes.
   */
  faultsOfEarlierPowerCut(found: Int32Array, cutAt: number): string[] {
    let moment = -Infinity
    let fault: string | undefined
    for (let changed = true; changed && fault === undefined;) {
      changed = false
      this.#eachSector(found, (sector, stamp) => {
        if (fault !== undefined) return
        const versions = this.#versions(sector, cutAt)
        const fitting = candidatesOf(versions, stamp).find((index) =>
          versions.slice(index + 1).every((later) => this.#covered(later) > Math.max(moment, versions[index]!.sentAt)),
        )
        if (fitting === undefined) {
          fault = `sector ${sector} holds ${nameOf(stamp)}, and another sector what was sent at ${moment}; ${this.#describe(versions, cutAt)}`
        } else if (versions[fitting]!.sentAt > moment) {
          moment = versions[fitting]!.sentAt
          changed = true
        }
      })
    }
    return fault === undefined ? [] : [fault]
  }

  /**
   * Why these stamps are not what a prefix of the changes leaves, one that includes all that was flushed when the power was cut at `cutAt`. A change that was
   * answered before another was sent comes before it; a change is there, or is not, for each page as a whole.
   *
   * Finds the least prefix that holds what was found: `included` is, for each sector, how many of its versions are in it. What has to be in it for any reason is
   * put in until nothing is missing; then nothing may be in it that was not found.
   */
  faultsOfPrefix(found: Int32Array, cutAt: number): string[] {
    const versions = new Map<number, Change[]>()
    const included = new Map<number, number>()
    const faults: string[] = []
    /** When the latest of the included changes was sent: all that was answered by then is included. */
    let sentAt = -Infinity
    let growing = true

    const include = (sector: number, atLeast: number, why: string): void => {
      if (included.get(sector)! >= atLeast) return
      const stamp = found[sector]!
      const fitting = candidatesOf(versions.get(sector)!, stamp).find((index) => index >= atLeast)
      if (fitting === undefined) {
        const seen = candidatesOf(versions.get(sector)!, stamp).length === 0 ? whyUnknown(stamp) : why
        faults.push(`sector ${sector} holds ${nameOf(stamp)}: ${seen}; ${this.#describe(versions.get(sector)!, cutAt)}`)
      }
      const index = fitting ?? atLeast
      included.set(sector, index)
      growing = true
      const latest = versions.get(sector)!.slice(0, index + 1)
      for (const change of latest) sentAt = Math.max(sentAt, change.sentAt)
      const pageStart = sector - (sector % SECTORS_PER_PAGE)
      for (let other = pageStart; other < pageStart + SECTORS_PER_PAGE; other++) {
        const others = versions.get(other)
        if (other === sector || others === undefined) continue
        const common = others.findLastIndex((change) => latest.includes(change))
        if (common > 0) include(other, common, `sector ${sector} of its page has a write that it has not`)
      }
    }

    this.#eachSector(found, (sector) => {
      versions.set(sector, this.#versions(sector, cutAt))
      included.set(sector, -1)
    })
    for (const [sector, list] of versions) {
      include(
        sector,
        Math.max(
          0,
          list.findLastIndex((change) => this.#covered(change) <= cutAt),
        ),
        'a later version was flushed',
      )
    }
    while (growing && faults.length < MOST_FAULTS) {
      growing = false
      for (const [sector, list] of versions) {
        const needed = list.findLastIndex((change) => change.answeredAt <= sentAt)
        include(sector, needed, `a change is there that was sent at ${sentAt}, when a later version had been answered`)
      }
    }
    return faults.slice(0, MOST_FAULTS)
  }

  /** Every sector that was changed, or is not as it was before. */
  #eachSector(found: Int32Array, visit: (sector: number, stamp: number) => void): void {
    for (const [sector, stamp] of found.entries()) {
      if (stamp !== this.before[sector] || this.#changes.has(sector)) visit(sector, stamp)
    }
  }

  /** What a sector may hold, oldest first: what was there before, and what was sent until the cut. */
  #versions(sector: number, cutAt: number): Change[] {
    const sent = this.#changes.get(sector)?.filter((change) => change.sentAt < cutAt) ?? []
    return [{ ...BEFORE, stamp: this.before[sector]! }, ...sent]
  }

  /** When the client knew that a change is on stable storage. */
  #covered(change: Change): number {
    if (change.fua) return change.answeredAt
    let covered = this.#coveredAt.get(change)
    if (covered === undefined) {
      covered = Infinity
      for (const flush of this.#flushes) {
        if (flush.sentAt >= change.answeredAt) covered = Math.min(covered, flush.answeredAt)
      }
      this.#coveredAt.set(change, covered)
    }
    return covered
  }

  #describe(versions: readonly Change[], cutAt: number): string {
    const last = versions.slice(-4).map((change) => {
      const covered = this.#covered(change)
      return `${nameOf(change.stamp)} sent ${change.sentAt}, answered ${change.answeredAt}, flushed ${covered}`
    })
    return `cut at ${cutAt}; its last versions: ${last.join('; ')}`
  }
}

function candidatesOf(versions: readonly Change[], stamp: number): number[] {
  return versions.flatMap((change, index) => (change.stamp === stamp ? [index] : []))
}

const whyUnknown = (stamp: number): string =>
  stamp === FOREIGN ? 'no write left that' : 'it was never that, or only before'

import { copySectors } from '../log/log-reader.js'
import { OriginError, type Origin } from '../origin/origin.js'
import type { PageSpace } from './page-space.js'
import type { RangeLocks } from './range-locks.js'
import type { StoredPages } from './stored-pages.js'
import { Unflushed, withoutWritten, type Change, type ChangeKind } from './unflushed.js'

/** The origin is flushed by ourselves when so many changes wait for a guest's flush. */
const MAXIMUM_UNFLUSHED = 16_384

/**
 * Flushes the origin of a disk that writes through. A flush proves only what the same session of the origin was sent: after a reconnect all
 * that no flush has covered is sent again, from the log, first.
 */
export class OriginFlusher {
  readonly #unflushed: Unflushed
  #flushing: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(
    readonly name: string,
    readonly origin: Origin,
    readonly space: PageSpace,
    readonly stored: StoredPages,
    readonly locks: RangeLocks,
  ) {
    this.#unflushed = new Unflushed(origin.session)
  }

  /** Whether the origin may have lost what it acknowledged, and has not been sent it again: what it answers there proves nothing. */
  get isInDoubt(): boolean {
    return this.#unflushed.size > 0 && this.origin.session !== this.#unflushed.session
  }

  /** Notes a change that the origin acknowledged; returns a flush where too many wait for one. */
  note(kind: ChangeKind, offset: number, length: number): Promise<void> | undefined {
    if (this.#unflushed.size === 0) this.#unflushed.sentIn(this.origin.session)
    this.#unflushed.add(kind, offset, length)
    return this.#unflushed.size > MAXIMUM_UNFLUSHED ? this.flush() : undefined
  }

  /** A guest's flush: ends when the origin has flushed what it acknowledged before. Callers that come while one runs share the next. */
  flush(): Promise<void> {
    return this.#flushWithOthers(false)
  }

  /** The same where nobody has asked for it: whoever asks next hears that something was lost. */
  flushUnheard(): Promise<void> {
    return this.#flushWithOthers(true)
  }

  #flushWithOthers(unheard: boolean): Promise<void> {
    const flush = (): Promise<void> =>
      (this.#flushing = this.#flushNow(unheard).finally(() => (this.#flushing = undefined)))
    if (this.#flushing === undefined) return flush()
    return (this.#next ??= this.#flushing
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined
        return flush()
      }))
  }

  /**
   * One flush. Where the log has not got all that would have to be sent again it fails, once: it cannot be proven that the writes are
   * there.
   */
  async #flushNow(unheard: boolean): Promise<void> {
    const { origin } = this
    const { changes, session } = this.#unflushed.take()
    try {
      const now = origin.session
      if (now !== session && changes.length > 0) await this.#sendAgain(changes)
      this.#unflushed.sentIn(now)
      await origin.flush()
      if (origin.session !== now)
        throw new OriginError(`the origin of disk ${this.name} was reconnected during a flush`)
    } catch (error) {
      if (unheard || !(error instanceof Unprovable)) this.#unflushed.putBack(changes)
      throw error
    }
  }

  /** Sends again what can be; a change that was overwritten since must not undo that. Ends with the first write that is not cached any more. */
  async #sendAgain(changes: readonly Change[]): Promise<void> {
    const { locks, origin, space } = this
    let unprovable: Unprovable | undefined
    for (const [index, { kind, offset, length }] of changes.entries()) {
      const lock = await locks.acquire(space.firstPage(offset), space.lastPage(offset, length))
      try {
        const later = (): Change[] => [...changes.slice(index + 1), ...this.#unflushed.changes]
        if (kind === 'write') unprovable ??= await this.#sendWriteAgain(offset, length, later)
        else {
          for (const part of withoutWritten(offset, length, later())) {
            if (kind === 'trim') await origin.trim(part.offset, part.length)
            else await origin.zero(part.offset, part.length, { mayTrim: true, fast: false })
          }
        }
      } finally {
        locks.release(lock)
      }
    }
    if (unprovable !== undefined) throw unprovable
  }

  /** Sends a write again from the log, page by page; returns the error for what is not there. */
  async #sendWriteAgain(offset: number, length: number, later: () => Change[]): Promise<Unprovable | undefined> {
    const { space, origin } = this
    let unprovable: Unprovable | undefined
    for (let page = space.firstPage(offset); page <= space.lastPage(offset, length); page++) {
      const [from, to] = space.within(page, offset, length)
      const start = space.startOf(page) + from
      const wanted = space.sectorsWithin(page, offset, length)
      const stored = await this.stored.read(page)
      if (stored === undefined || (stored.sectorMap & wanted) !== wanted) {
        // A later zero or trim decides what is there.
        const isReplaced = later().some(
          (change) =>
            change.kind !== 'write' && change.offset <= start && start + to - from <= change.offset + change.length,
        )
        if (!isReplaced)
          unprovable ??= new Unprovable(
            `the origin of disk ${this.name} was reconnected, and ${to - from} bytes at ${start} that it had not flushed are no longer cached`,
          )
        continue
      }
      const data = Buffer.allocUnsafe(to - from)
      copySectors(stored.data, stored.sectorMap, from, to, data, 0)
      await origin.write(start, data)
    }
    return unprovable
  }
}

/** A flush that failed because the log no longer has what would have to be sent again. */
class Unprovable extends OriginError {}

export type ChangeKind = 'write' | 'zero' | 'trim'

/** A change that the origin acknowledged and did not flush yet; bytes of the disk. */
export interface Change {
  readonly kind: ChangeKind
  readonly offset: number
  readonly length: number
}

/**
 * What a flush has to cover. A flush of the origin proves only what the same session of it was sent; when the session changed,
 * all of this is sent again first.
 */
export class Unflushed {
  #changes: Change[] = []
  #session: number

  constructor(session: number) {
    this.#session = session
  }

  /** Of the origin, when it acknowledged them. */
  get session(): number {
    return this.#session
  }

  get size(): number {
    return this.#changes.length
  }

  /** Since the last flush began, oldest first. */
  get changes(): readonly Change[] {
    return this.#changes
  }

  /** Notes a change that the origin acknowledged in `session`. */
  add(kind: ChangeKind, offset: number, length: number): void {
    const last = this.#changes.at(-1)
    if (last !== undefined && last.kind === kind && last.offset + last.length === offset) {
      this.#changes[this.#changes.length - 1] = { kind, offset: last.offset, length: last.length + length }
    } else {
      this.#changes.push({ kind, offset, length })
    }
  }

  /** Takes all changes so far, for a flush that begins now. */
  take(): { readonly changes: readonly Change[]; readonly session: number } {
    const changes = this.#changes
    this.#changes = []
    return { changes, session: this.#session }
  }

  /** The flush failed: they are still to be covered, before later ones. */
  putBack(changes: readonly Change[]): void {
    this.#changes = [...changes, ...this.#changes]
  }

  /** Everything that is still unflushed was sent in `session`. */
  sentIn(session: number): void {
    this.#session = session
  }
}

/** The parts of a range of bytes that none of `changes` writes to. */
export function withoutWritten(
  offset: number,
  length: number,
  changes: Iterable<Change>,
): { readonly offset: number; readonly length: number }[] {
  let parts = [{ offset, length }]
  for (const change of changes) {
    if (change.kind !== 'write') continue
    const end = change.offset + change.length
    parts = parts.flatMap((part) => {
      const partEnd = part.offset + part.length
      if (end <= part.offset || partEnd <= change.offset) return [part]
      return [
        { offset: part.offset, length: change.offset - part.offset },
        { offset: end, length: partEnd - end },
      ].filter((rest) => rest.length > 0)
    })
  }
  return parts
}

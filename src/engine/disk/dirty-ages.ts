/** Writes closer together than this count as of one age. */
const GRAIN_MILLISECONDS = 100

/** When what is dirty was written, coarsely: positions of the log and times, oldest first. */
export class DirtyAges {
  #samples: { readonly lsn: number; readonly at: number }[] = []

  /** What is written from `lsn` on is of time `at`. */
  note(lsn: number, at: number): void {
    const last = this.#samples.at(-1)
    if (last !== undefined && (last.lsn >= lsn || at - last.at < GRAIN_MILLISECONDS)) return
    this.#samples.push({ lsn, at })
  }

  /** Everything below `lsn` is clean. */
  settle(lsn: number): void {
    let first = 0
    while (first + 1 < this.#samples.length && this.#samples[first + 1]!.lsn <= lsn) first++
    if (first > 0) this.#samples = this.#samples.slice(first)
  }

  clear(): void {
    this.#samples = []
  }

  /** When the oldest was written; undefined where nothing is known to be dirty. */
  get oldest(): number | undefined {
    return this.#samples[0]?.at
  }
}

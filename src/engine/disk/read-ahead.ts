import type { Origin } from '../origin/origin.js'
import type { Fill, Fills } from './fills.js'

/** Bytes that are read ahead of a sequential reader, and streams that may have such a window at once. */
export const READ_AHEAD_BYTES = 512 * 1024
const WINDOWS = 4

/** Bytes that were read ahead. */
interface Ahead {
  readonly data: Buffer
  readonly fill: Fill
  readonly done: () => void
}

interface Window {
  readonly offset: number
  readonly data: Buffer
  readonly fill: Fill
  readonly ready: Promise<boolean>
}

/**
 * What sequential readers will ask for next, read from the origin into memory. A stream too long to be cached still runs at the speed
 * of large reads. A write, zero or trim of a page cancels the windows that hold it, as it cancels fills.
 */
export class ReadAhead {
  #windows: Window[] = []

  constructor(
    readonly origin: Origin,
    readonly fills: Fills,
    /** Pages of a byte range of the disk, and whether a change of them is under way. */
    readonly pagesOf: (offset: number, length: number) => { first: number; last: number; changing: boolean },
  ) {}

  /** Begins to read behind `offset` unless a window covers it. */
  begin(offset: number): void {
    const end = Math.min(this.origin.description.sizeBytes, offset + READ_AHEAD_BYTES)
    if (
      offset >= end ||
      this.#windows.some((window) => window.offset <= offset && offset < window.offset + window.data.length)
    )
      return
    if (this.#windows.length === WINDOWS) this.#drop(this.#windows[0]!)
    const data = Buffer.allocUnsafeSlow(end - offset)
    const { first, last, changing } = this.pagesOf(offset, data.length)
    const fill = this.fills.begin(first, last, changing)
    const ready = this.origin.read(offset, data).then(
      () => true,
      () => false,
    )
    this.#windows.push({ offset, data, fill, ready })
  }

  /**
   * Undefined where no window holds all of a range; else ends with its bytes, or undefined where something changed them since, after a read
   * under way. `done` says that the bytes, and what they may be installed as, are of no more use.
   */
  take(offset: number, length: number): Promise<Ahead | undefined> | undefined {
    const window = this.#windows.find(
      (each) => each.offset <= offset && offset + length <= each.offset + each.data.length,
    )
    return window && this.#takeFrom(window, offset, length)
  }

  async #takeFrom(window: Window, offset: number, length: number): Promise<Ahead | undefined> {
    const good = await window.ready
    if (!good || window.fill.cancelled) {
      this.#drop(window)
      return undefined
    }
    const start = offset - window.offset
    const isLast = offset + length === window.offset + window.data.length
    return {
      data: window.data.subarray(start, start + length),
      fill: window.fill,
      done: () => {
        if (isLast) this.#drop(window)
      },
    }
  }

  /** Drops windows that hold data which changed; they would only take room. */
  clear(): void {
    for (const window of [...this.#windows]) this.#drop(window)
  }

  #drop(window: Window): void {
    this.#windows = this.#windows.filter((each) => each !== window)
    this.fills.end(window.fill)
  }
}

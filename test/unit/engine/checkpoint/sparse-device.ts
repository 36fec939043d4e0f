import type { Device } from '../../../../src/engine/device/device.js'

const PAGE = 4096

/** A device of any size in memory, for what is written a page at a time: the rest is zeroes. */
export class SparseDevice implements Device {
  readonly path = '/sparse'
  readonly logicalBlockBytes = PAGE
  readonly #pages = new Map<number, Buffer>()

  constructor(readonly sizeBytes: number) {}

  tryRead(offset: number, target: Uint8Array, at: number, length: number): boolean {
    for (let done = 0; done < length; done += PAGE) {
      const page = this.#pages.get((offset + done) / PAGE)
      if (page === undefined) target.fill(0, at + done, at + done + PAGE)
      else target.set(page, at + done)
    }
    return true
  }

  read(offset: number, target: Uint8Array, at: number, length: number): Promise<void> {
    this.tryRead(offset, target, at, length)
    return Promise.resolve()
  }

  write(offset: number, bytes: Uint8Array): undefined {
    for (let done = 0; done < bytes.length; done += PAGE)
      this.#pages.set((offset + done) / PAGE, Buffer.from(bytes.subarray(done, done + PAGE)))
  }

  commit(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

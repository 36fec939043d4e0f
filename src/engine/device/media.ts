import type { Device } from './device.js'

/** The devices of a cache past the page cache, by position, each opened when it is needed first. */
export class Media {
  readonly #opened = new Map<number, Promise<Device>>()

  constructor(readonly open: (position: number) => Promise<Device>) {}

  /** Where it cannot be opened it is tried again the next time. */
  at(position: number): Promise<Device> {
    let medium = this.#opened.get(position)
    if (medium === undefined) {
      medium = this.open(position)
      this.#opened.set(position, medium)
      medium.catch(() => this.#opened.delete(position))
    }
    return medium
  }

  /** Closes one of them, if it was opened. */
  async close(position: number): Promise<void> {
    const medium = this.#opened.get(position)
    this.#opened.delete(position)
    await medium?.then(
      (opened) => opened.close(),
      () => undefined,
    )
  }

  async closeAll(): Promise<void> {
    for (const position of [...this.#opened.keys()]) await this.close(position)
  }
}

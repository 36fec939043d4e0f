/** Lets so many bytes be in flight; who finds no room waits in order. One request is let through whatever its size. */
export class Room {
  #taken = 0
  readonly #waiting: { readonly bytes: number; readonly enter: () => void }[] = []

  constructor(readonly bytes: number) {}

  /** Ends when there is room; {@link leave} gives it back. */
  async enter(bytes: number): Promise<void> {
    if (this.#waiting.length > 0 || !this.#fits(bytes)) {
      await new Promise<void>((enter) => this.#waiting.push({ bytes, enter }))
    } else this.#taken += bytes
  }

  leave(bytes: number): void {
    this.#taken -= bytes
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#taken += next.bytes
      next.enter()
    }
  }

  #fits(bytes: number): boolean {
    return this.#taken === 0 || this.#taken + bytes <= this.bytes
  }
}

/** What a miss is reading from the origin: it may be installed in the cache only if nothing changed these pages meanwhile. */
export interface Fill {
  readonly first: number
  readonly last: number
  cancelled: boolean
}

/** The reads under way whose data may be cached. Every write, zero and trim cancels those that it overlaps. */
export class Fills {
  readonly #underWay = new Set<Fill>()

  /** @param changing whether a change of these pages is under way already: what the origin answers may be older than it */
  begin(first: number, last: number, changing: boolean): Fill {
    const fill = { first, last, cancelled: changing }
    this.#underWay.add(fill)
    return fill
  }

  end(fill: Fill): void {
    this.#underWay.delete(fill)
  }

  cancel(first: number, last: number): void {
    for (const fill of this.#underWay) if (fill.first <= last && first <= fill.last) fill.cancelled = true
  }
}

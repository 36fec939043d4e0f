import { randomBytes } from 'node:crypto'

/** A source of random numbers; passed in, so that a simulation can repeat a run from its seed. */
export interface Random {
  /** A whole number in [0, limit). */
  below(limit: number): number
  /** A new 128-bit id: 32 lower-case hexadecimal digits. */
  id(): string
}

export const systemRandom: Random = {
  below: (limit) => Math.floor(Math.random() * limit),
  id: () => randomBytes(16).toString('hex'),
}

/** Repeatable numbers from a 32-bit seed (xoshiro128**, Blackman and Vigna 2018, seeded by splitmix32). */
export class SeededRandom implements Random {
  readonly #state = new Uint32Array(4)

  constructor(readonly seed: number) {
    let x = seed >>> 0
    for (let index = 0; index < 4; index++) {
      x = (x + 0x9e3779b9) >>> 0
      let z = x
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      this.#state[index] = z ^ (z >>> 15)
    }
  }

  #next(): number {
    const s = this.#state
    const scrambled = Math.imul(s[1]!, 5)
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0
    const t = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= t
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  below(limit: number): number {
    return Math.floor((this.#next() / 0x1_0000_0000) * limit)
  }

  id(): string {
    let text = ''
    for (let index = 0; index < 4; index++) text += this.#next().toString(16).padStart(8, '0')
    return text
  }
}

import { describe, expect, it } from 'vitest'
import { assert } from '../../src/base/assert.js'
import { SeededRandom } from '../../src/base/random.js'
import { fifo } from '../../src/engine/replacement/fifo.js'
import type { ReplacementModule } from '../../src/engine/replacement/replacement.js'
import { simulate } from '../../src/trace/simulate.js'
import { simulateLaid } from '../../src/trace/simulate-laid.js'

/** What every replacement module promises; a new one proves itself by calling this in a test file. */
export function replacementContract(module: ReplacementModule): void {
  describe(`replacement module ${module.name}`, () => {
    describe('exact form', () => {
      it.each([1, 2, 7, 100])('holds at most %d keys, and all of so many', (capacity) => {
        const exact = module.exact(capacity)
        const random = new SeededRandom(capacity)
        for (let step = 0; step < capacity; step++) {
          expect(exact.access(step)).toBe(false)
          expect(exact.size).toBe(step + 1)
        }
        for (let step = 0; step < 3 * capacity; step++) expect(exact.access(random.below(capacity))).toBe(true)
        let largest = 0
        for (let step = 0; step < 50 * capacity; step++) {
          exact.access(random.below(3 * capacity))
          largest = Math.max(largest, exact.size)
        }
        expect(largest).toBe(capacity)
        expect(exact.size).toBe(capacity)
      })

      it('finds what it was just given, at both ends of the numbers', () => {
        const exact = module.exact(4)
        for (const key of [0, 2 ** 32 - 1, 2 ** 31, 1, 2 ** 31 - 1, 5, 6, 7, 8, 9]) {
          exact.access(key)
          expect(exact.access(key), `${key}`).toBe(true)
        }
      })

      it('forgets what is removed, and only that', () => {
        const exact = module.exact(10)
        for (let key = 0; key < 10; key++) exact.access(key)
        exact.remove(3)
        exact.remove(3)
        exact.remove(99)
        expect(exact.size).toBe(9)
        for (const key of [0, 1, 2, 4, 5, 6, 7, 8, 9]) expect(exact.access(key)).toBe(true)
        expect(exact.access(3)).toBe(false)
        expect(exact.size).toBe(10)
      })

      it('lives through any mixture of accesses and removals', () => {
        const random = new SeededRandom(11)
        const exact = module.exact(50)
        const removed = new Set<number>()
        let largest = 0
        for (let step = 0; step < 50_000; step++) {
          const key = random.below(200)
          if (random.below(4) === 0) {
            exact.remove(key)
            removed.add(key)
          } else {
            if (exact.access(key))
              assert(!removed.has(key), `key ${key} is not resident after its removal (step ${step})`)
            removed.delete(key)
          }
          largest = Math.max(largest, exact.size)
        }
        expect(largest).toBeLessThanOrEqual(50)
      })

      it('does the same twice', () => {
        const accesses = skewed(3)
        expect(simulate(module.exact(500), accesses)).toEqual(simulate(module.exact(500), accesses))
      })
    })

    describe('laid form', () => {
      it('answers with a byte of heat, whatever byte of heat another policy left', () => {
        const random = new SeededRandom(5)
        const laid = module.laid(1000)
        for (let step = 0; step < 20_000; step++) {
          if (step % 100 === 0) laid.reclaiming?.(random.below(101), 100, false)
          if (step % 1000 === 0) laid.resized(1 + random.below(4000))
          const page = random.below(2 ** 32)
          const heat = random.below(256)
          const answers = [laid.inserted(page), laid.hit(heat), laid.reclaimed(page, heat)] as const
          assert(isByte(answers[0]) && isByte(answers[1]), `heat ${heat}: ${answers.join(', ')}`)
          assert(answers[2] === -1 || isByte(answers[2]), `heat ${heat}: ${answers.join(', ')}`)
        }
      })

      it('drops what was never used: a scan writes each page once, but for a few that look like others', () => {
        const pages = Uint32Array.from({ length: 50_000 }, (_, page) => page)
        const result = simulateLaid(module, { pages, writes: new Uint8Array(pages.length) }, 6400, 64)
        expect(result.writtenPerAdmitted).toBeLessThan(1.001)
      })

      it('serves a log that grows chunk by chunk, as the real one says it does', () => {
        const laid = module.laid(16)
        for (let chunks = 1; chunks <= 200; chunks++) {
          laid.resized(16 * chunks)
          for (let page = 16 * (chunks - 1); page < 16 * chunks; page++) expect(laid.inserted(page)).toSatisfy(isByte)
        }
      })

      it('is no worse than the log as it is on a skewed load, near its exact form, and writes 2.5 at most', () => {
        for (const seed of [1, 2, 3]) {
          const accesses = skewed(seed)
          const laid = simulateLaid(module, accesses, 3200, 64)
          expect(laid.missRatio!).toBeLessThan(simulateLaid(fifo, accesses, 3200, 64).missRatio! + 0.01)
          expect(laid.missRatio!).toBeLessThan(simulate(module.exact(3200), accesses).missRatio! + 0.1)
          expect(laid.writtenPerAdmitted!).toBeLessThan(2.5)
        }
      })

      it('allocates nothing on the data path', () => {
        const laid = module.laid(10_000)
        const growths: number[] = []
        for (let round = 0; round < 15; round++) {
          const before = process.memoryUsage().heapUsed
          for (let page = 0; page < 100_000; page++) {
            if (page % 256 === 0) laid.reclaiming?.(200, 256, false)
            laid.reclaimed(page, laid.hit(laid.inserted(page)))
          }
          growths.push(process.memoryUsage().heapUsed - before)
        }
        // The median: an object or a boxed number in each round would be a megabyte and more; the first rounds are not compiled yet.
        expect(growths.sort((a, b) => a - b)[7]!).toBeLessThan(500_000)
      })
    })
  })
}

function isByte(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 255
}

/** 40,000 accesses to 10,000 pages, a third of them writes, most to few pages; a scan in the middle. */
function skewed(seed: number): { pages: Uint32Array; writes: Uint8Array } {
  const random = new SeededRandom(seed)
  const length = 40_000
  const pages = new Uint32Array(length)
  const writes = new Uint8Array(length)
  for (let index = 0; index < length; index++) {
    const scanning = index > 15_000 && index < 20_000
    pages[index] = scanning ? 100_000 + index : Math.floor(10_000 * (random.below(1e6) / 1e6) ** 3)
    writes[index] = random.below(3) === 0 ? 1 : 0
  }
  return { pages, writes }
}

import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../src/base/random.js'
import { fifo } from '../../../src/engine/replacement/fifo.js'
import { REPLACEMENT_MODULES } from '../../../src/engine/replacement/modules.js'
import type { ReplacementModule } from '../../../src/engine/replacement/replacement.js'
import { simulate } from '../../../src/trace/simulate.js'
import { simulateLaid } from '../../../src/trace/simulate-laid.js'

function load(seed: number, length: number, pageCount: number, writeEvery: number) {
  const random = new SeededRandom(seed)
  return {
    pages: Uint32Array.from({ length }, () => Math.floor(pageCount * (random.below(1e6) / 1e6) ** 2)),
    writes: Uint8Array.from({ length }, () => (writeEvery > 0 && random.below(writeEvery) === 0 ? 1 : 0)),
  }
}

/** The same model in plain words: an array of chunks of versions, the latest version of a page found by search. */
function plainFifoLog({ pages, writes }: ReturnType<typeof load>, chunkPages: number, chunkCount: number): number {
  let chunks: number[][] = [[]]
  let serial = 0
  const latest = new Map<number, number>()
  const versions = new Map<number, number>()
  let misses = 0
  for (let index = 0; index < pages.length; index++) {
    const page = pages[index]!
    const hit = latest.has(page)
    if (!hit) misses++
    if (hit && writes[index] === 0) continue
    if (chunks.at(-1)!.length === chunkPages) {
      chunks.push([])
      if (chunks.length === chunkCount) {
        for (const version of chunks[0]!) {
          const old = versions.get(version)!
          if (latest.get(old) === version) latest.delete(old)
        }
        chunks = chunks.slice(1)
      }
    }
    latest.set(page, serial)
    versions.set(serial, page)
    chunks.at(-1)!.push(serial++)
  }
  return misses
}

describe('simulateLaid', () => {
  it('is the log in plain words, for fifo', () => {
    for (const [seed, writeEvery] of [
      [1, 0],
      [2, 2],
      [3, 5],
    ] as const) {
      const accesses = load(seed, 30_000, 2000, writeEvery)
      const result = simulateLaid(fifo, accesses, 640, 16)
      expect(result.misses).toBe(plainFifoLog(accesses, 40, 16))
      expect(result.copiedPages).toBe(0)
      expect(result.writtenPerAdmitted).toBe(1)
    }
  })

  it('counts every write and miss as admitted, and copies apart', () => {
    for (const module of REPLACEMENT_MODULES) {
      const accesses = load(4, 40_000, 3000, 3)
      const result = simulateLaid(module, accesses, 1280, 64)
      const writeHits = result.admittedPages - result.misses
      expect(writeHits).toBeGreaterThan(0)
      expect(result.admittedPages).toBeLessThan(accesses.pages.length)
      expect(result.writtenPerAdmitted).toBeCloseTo(1 + result.copiedPages / result.admittedPages, 9)
      expect(result.accesses).toBe(40_000)
    }
  })

  it('misses nothing twice while all fits without a dead slot', () => {
    for (const module of REPLACEMENT_MODULES) {
      const result = simulateLaid(module, load(5, 10_000, 600, 0), 640, 16)
      expect(result.misses).toBe(new Set(load(5, 10_000, 600, 0).pages).size)
      expect(result.copiedPages).toBe(0)
    }
  })

  it('makes room even for a policy that never drops', () => {
    const hoarder: ReplacementModule = {
      ...fifo,
      name: 'hoarder',
      laid: () => ({ inserted: () => 1, hit: (heat) => heat, reclaimed: (_page, heat) => heat, resized: () => {} }),
    }
    const result = simulateLaid(hoarder, load(6, 20_000, 5000, 4), 640, 16)
    expect(result.missRatio).toBeLessThan(1)
    expect(result.writtenPerAdmitted).toBeGreaterThan(2)
    expect(result.writtenPerAdmitted).toBeLessThan(8.1)
  })

  it('has no ratios without accesses, and refuses a chunk without a page', () => {
    const none = { pages: new Uint32Array(0), writes: new Uint8Array(0) }
    expect(simulateLaid(fifo, none, 64, 64)).toMatchObject({ missRatio: null, writtenPerAdmitted: null })
    expect(simulate(fifo.exact(1), none).missRatio).toBeNull()
    expect(() => simulateLaid(fifo, none, 63, 64)).toThrow('a chunk holds a page')
  })
})

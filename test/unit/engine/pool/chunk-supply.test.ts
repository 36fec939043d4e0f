import { describe, expect, it } from 'vitest'
import { ChunkSupply } from '../../../../src/engine/pool/chunk-supply.js'
import type { ChunkPlace } from '../../../../src/engine/pool/pool.js'

/** A pool of numbered chunks, and what was said to those who asked: `a:3` a chunk, `a:` none; `!` that there are no more. */
function supplyOf(...indexes: number[]): { supply: ChunkSupply<string>; free: ChunkPlace[]; said: () => string[] } {
  const free = indexes.map(placeOf)
  const said: string[] = []
  const pool = {
    take: () => free.shift(),
    setAside: () => undefined,
    get availableChunks() {
      return free.length
    },
  }
  const supply = new ChunkSupply<string>(pool, (asker, chunk, exhausted) => {
    said.push(`${asker}:${chunk?.index ?? ''}${exhausted ? '!' : ''}`)
  })
  return { supply, free, said: () => said.splice(0) }
}

function placeOf(index: number): ChunkPlace {
  return { deviceIndex: 0, index, generation: 1 }
}

describe('ChunkSupply', () => {
  it('gives one chunk to each who asks, and says which is the last one', () => {
    const { supply, said } = supplyOf(1, 2)
    supply.ask('a')
    supply.ask('a')
    expect(said()).toEqual(['a:1', 'a:2!'])
    expect(supply.isStarved).toBe(false)
  })

  it('gives those who found none the next ones, in the order in which they asked', () => {
    const { supply, free, said } = supplyOf()
    supply.ask('a')
    supply.ask('b')
    expect(said()).toEqual(['a:!', 'b:!'])
    free.push(placeOf(7))
    supply.serve()
    expect([said(), supply.isStarved]).toEqual([['a:7!'], true])
    free.push(placeOf(8), placeOf(9))
    supply.serve()
    expect([said(), supply.isStarved]).toEqual([['b:8', 'a:'], false])
  })

  it('tells those who live on what they reclaim that there is more, once', () => {
    const { supply, free, said } = supplyOf(1)
    supply.ask('a')
    expect(said()).toEqual(['a:1!'])
    supply.serve()
    expect(said()).toEqual([])
    free.push(placeOf(2))
    supply.serve()
    supply.serve()
    expect(said()).toEqual(['a:'])
  })
})

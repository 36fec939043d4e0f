import { describe, expect, it } from 'vitest'
import { whoGives } from '../../../../src/engine/pool/who-gives.ts'

const holder = (chunks: number, weight = 1, minChunks = 0) => ({ chunks, weight, minChunks })

describe('who gives a chunk up', () => {
  it('nobody while all have their part', () => {
    expect(whoGives([holder(5), holder(5)], [], 10)).toBeUndefined()
  })

  it('the one furthest above its part by weight', () => {
    const tenants = [holder(2), holder(12, 2), holder(6)]
    expect(whoGives(tenants, [], 20)).toBe(tenants[1])
  })

  it('nobody goes below its minimum', () => {
    expect(whoGives([holder(1), holder(9, 1, 9)], [], 10)).toBeUndefined()
  })

  it('a disk that is being opened counts before it has anything', () => {
    const alone = holder(10)
    expect(whoGives([alone], [], 10)).toBeUndefined()
    expect(whoGives([alone], [{ weight: 1, minChunks: 0 }], 10)).toBe(alone)
  })

  it('first one that counts nothing, down to its minimum', () => {
    const resting = holder(9, 0, 8)
    expect(whoGives([resting, holder(20), holder(2)], [], 31)).toMatchObject({ chunks: 20 })
    expect(whoGives([resting, holder(12), holder(10)], [], 31)).toBe(resting)
    expect(whoGives([holder(8, 0, 8), holder(12), holder(11)], [], 31)).toBeUndefined()
    expect(whoGives([holder(40, 0)], [], 40)).toBeUndefined()
  })

  it('not for the sake of a part of a chunk', () => {
    expect(whoGives([holder(3), holder(4)], [], 7)).toBeUndefined()
  })
})

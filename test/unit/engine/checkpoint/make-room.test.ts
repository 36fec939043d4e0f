import { describe, expect, test } from 'vitest'
import { limitsOf, makeRoom, type Giver } from '../../../../src/engine/checkpoint/make-room.js'
import { manualClock } from '../../../support/manual-clock.js'

function giver(name: string, chunks: number, values: Partial<Giver> = {}): Giver {
  const nothing = (): Promise<void> => Promise.resolve()
  return { name, chunks, floor: 8, shares: 100, isDirty: false, limit: nothing, flush: nothing, ...values }
}

describe('who gives', () => {
  const given = (disks: readonly Giver[], count: number): Record<string, number> | undefined => {
    const limits = limitsOf(disks, count)
    return limits && Object.fromEntries([...limits].map(([{ name }, limit]) => [name, limit]))
  }

  test('is who has most for its shares', () => {
    expect(given([giver('a', 30), giver('b', 20)], 5)).toEqual({ a: 25 })
    expect(given([giver('a', 30), giver('b', 20)], 14)).toEqual({ a: 18, b: 18 })
    expect(given([giver('a', 30, { shares: 200 }), giver('b', 20)], 5)).toEqual({ b: 15 })
  })

  test('keeps what it is promised', () => {
    expect(given([giver('a', 30, { floor: 28 }), giver('b', 20)], 10)).toEqual({ a: 28, b: 12 })
    expect(given([giver('a', 30, { floor: 28 }), giver('b', 10)], 4)).toEqual({ a: 28, b: 8 })
    expect(given([giver('a', 30, { floor: 28 }), giver('b', 10)], 5)).toBeUndefined()
    expect(given([], 1)).toBeUndefined()
    expect(given([giver('a', 3)], 0)).toEqual({})
  })
})

describe('room', () => {
  /** Disks in which a log gives up at once what is not dirty. */
  class Disks {
    readonly clock = manualClock()
    readonly chunks = new Map<string, number>()
    readonly dirty = new Set<string>()
    readonly refusing = new Set<string>()
    readonly hanging = new Set<string>()
    free = 0
    readonly abort = new AbortController()

    make(wanted: number): Promise<void> {
      return makeRoom(wanted, {
        cache: 'fast',
        clock: this.clock,
        signal: this.abort.signal,
        free: () => this.free,
        givers: () => Promise.resolve([...this.chunks].map(([name, count]) => this.#giver(name, count))),
      })
    }

    #giver(name: string, count: number): Giver {
      return giver(name, count, {
        isDirty: this.dirty.has(name),
        limit: (limit) => {
          if (this.dirty.has(name)) return Promise.resolve()
          this.free += this.chunks.get(name)! - limit
          this.chunks.set(name, limit)
          return Promise.resolve()
        },
        flush: () => {
          if (this.hanging.has(name)) return new Promise(() => undefined)
          if (this.refusing.has(name)) return Promise.reject(new Error('no such origin'))
          this.dirty.delete(name)
          return Promise.resolve()
        },
      })
    }
  }

  test('that is there already asks nobody', async () => {
    const disks = new Disks()
    disks.free = 5
    await disks.make(5)
  })

  test('is made at once of what is clean, and after a flush of what is dirty', async () => {
    const disks = new Disks()
    disks.chunks.set('a', 30)
    await disks.make(10)
    expect([disks.free, disks.chunks.get('a')]).toEqual([10, 20])
    disks.dirty.add('a')
    const made = disks.make(15)
    await disks.clock.advance(50)
    await made
    expect([disks.free, disks.chunks.get('a')]).toEqual([15, 15])
  })

  test.each(['refusing', 'hanging'] as const)('is made by others where an origin is %s', async (how) => {
    const disks = new Disks()
    disks.chunks.set('a', 30).set('b', 20)
    disks.dirty.add('a')
    disks[how].add('a')
    const made = disks.make(10)
    await disks.clock.advance(1500)
    await made
    expect([disks.chunks.get('a'), disks.chunks.get('b')]).toEqual([30, 10])
  })

  test('that no origin lets go of is given up: NO_SPACE names the disks', async () => {
    const disks = new Disks()
    disks.chunks.set('a', 30)
    disks.dirty.add('a')
    disks.hanging.add('a')
    const made = disks.make(10).catch((error: unknown) => error)
    await disks.clock.advance(11_000)
    expect(await made).toMatchObject({
      code: 'NO_SPACE',
      message: 'cache fast has 0 free chunks, 10 are needed; the origins of these disks do not take what is dirty: a',
      details: { dirtyDisks: ['a'] },
    })
  })

  test('that nobody has is NO_SPACE at once', async () => {
    const disks = new Disks()
    disks.chunks.set('a', 12)
    await expect(disks.make(5)).rejects.toMatchObject({ code: 'NO_SPACE', details: { wantedChunks: 5, freeChunks: 0 } })
    expect(disks.chunks.get('a')).toBe(12)
  })

  test('is not made any more when it is cancelled', async () => {
    const disks = new Disks()
    disks.chunks.set('a', 30)
    disks.dirty.add('a')
    disks.hanging.add('a')
    const made = disks.make(10).catch((error: unknown) => error)
    await disks.clock.advance(100)
    disks.abort.abort()
    await disks.clock.advance(100)
    expect(await made).toMatchObject({ code: 'INTERRUPTED' })
  })
})

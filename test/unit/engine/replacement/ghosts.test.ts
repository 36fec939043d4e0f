import { describe, expect, it } from 'vitest'
import { Ghosts } from '../../../../src/engine/replacement/ghosts.js'

describe('Ghosts', () => {
  it('remembers a page once', () => {
    const ghosts = new Ghosts(1, 1000)
    ghosts.add(42)
    expect(ghosts.take(42)).toBe(true)
    expect(ghosts.take(42)).toBe(false)
  })

  it('remembers the latest, about as many as it has room for', () => {
    const ghosts = new Ghosts(0.5, 20_000)
    for (let page = 0; page < 100_000; page++) ghosts.add(page)
    const remembered = (from: number, to: number): number => {
      let count = 0
      for (let page = from; page < to; page++) if (ghosts.take(page)) count++
      return count / (to - from)
    }
    expect(remembered(97_000, 100_000)).toBeGreaterThan(0.95)
    expect(remembered(0, 70_000)).toBeLessThan(0.02)
  })

  it('hardly ever takes a page for another', () => {
    const ghosts = new Ghosts(1, 50_000)
    for (let page = 0; page < 50_000; page++) ghosts.add(page)
    let mistaken = 0
    for (let page = 1_000_000; page < 1_100_000; page++) if (ghosts.take(page)) mistaken++
    expect(mistaken).toBeLessThan(60)
  })

  it('keeps what it knows while the capacity changes little', () => {
    const ghosts = new Ghosts(1, 10_000)
    ghosts.add(7)
    ghosts.resized(9000)
    ghosts.resized(10_000)
    ghosts.resized(7000)
    expect(ghosts.take(7)).toBe(true)
    ghosts.resized(100)
    ghosts.add(8)
    ghosts.resized(1_000_000)
    ghosts.add(9)
    expect(ghosts.take(9)).toBe(true)
  })
})

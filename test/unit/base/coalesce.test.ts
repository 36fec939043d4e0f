import { describe, expect, it } from 'vitest'
import { coalesce } from '../../../src/base/coalesce.js'

/** Runs that a test ends one by one. */
function runs(): { run: () => Promise<void>; end(error?: Error): Promise<void>; readonly begun: number } {
  const waiting: { resolve: () => void; reject: (error: Error) => void }[] = []
  let begun = 0
  return {
    run: () => {
      begun++
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }))
    },
    async end(error) {
      const next = waiting.shift()!
      if (error === undefined) next.resolve()
      else next.reject(error)
      await new Promise((resolve) => setImmediate(resolve))
    },
    get begun() {
      return begun
    },
  }
}

describe('coalesce', () => {
  it('gives each call a run that began after it, and all that wait the same', async () => {
    const flush = runs()
    const call = coalesce(flush.run)
    const ended: string[] = []
    const note = (name: string) => (): void => void ended.push(name)
    void call().then(note('first'))
    expect(flush.begun).toBe(1)
    void call().then(note('second'))
    void call().then(note('third'))
    expect(flush.begun).toBe(1)
    await flush.end()
    expect(ended).toEqual(['first'])
    expect(flush.begun).toBe(2)
    void call().then(note('fourth'))
    await flush.end()
    expect(ended).toEqual(['first', 'second', 'third'])
    expect(flush.begun).toBe(3)
    await flush.end()
    expect(ended).toEqual(['first', 'second', 'third', 'fourth'])
    void call()
    expect(flush.begun).toBe(4)
  })

  it('gives a failure to those that waited for that run, and goes on', async () => {
    const flush = runs()
    const call = coalesce(flush.run)
    const first = expect(call()).rejects.toThrow('broken')
    const second = call()
    await flush.end(new Error('broken'))
    await first
    expect(flush.begun).toBe(2)
    await flush.end()
    await second
  })
})

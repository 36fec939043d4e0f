import { expect, test } from 'vitest'
import { BufferPool } from '../../../../src/engine/nbd/buffer-pool.js'

const MIB = 1024 * 1024

test('a buffer has room for what was asked, and not much more than twice as much', () => {
  const pool = new BufferPool(0)
  for (const bytes of [0, 1, 4096, 4160, 4161, 65536, MIB + 28, 32 * MIB, 32 * MIB + 64]) {
    const { length } = pool.take(bytes)
    expect(length).toBeGreaterThanOrEqual(bytes)
    expect(length).toBeLessThanOrEqual(Math.max(8192, 2 * bytes))
  }
})

test('a power of two and its header share a buffer of that class', () => {
  expect(new BufferPool(0).take(MIB + 28).length).toBe(MIB + 64)
})

test('what was given back is used again', () => {
  const pool = new BufferPool(MIB)
  const buffer = pool.take(5000)
  pool.give(buffer)
  expect(pool.keptBytes).toBe(buffer.length)
  expect(pool.take(8000)).toBe(buffer)
  expect(pool.keptBytes).toBe(0)
})

test('no more is kept than allowed', () => {
  const pool = new BufferPool(3 * MIB)
  const buffers = Array.from({ length: 10 }, () => pool.take(MIB))
  for (const buffer of buffers) pool.give(buffer)
  expect(pool.keptBytes).toBeLessThanOrEqual(3 * MIB)
  expect(pool.keptBytes).toBeGreaterThan(2 * MIB)
})

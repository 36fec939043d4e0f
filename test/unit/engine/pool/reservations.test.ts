import { expect, test } from 'vitest'
import { Reservations } from '../../../../src/engine/pool/reservations.js'

test('what is promised is counted for each holder, the last word counts', () => {
  const reservations = new Reservations()
  reservations.set('a', 4, 100)
  reservations.set('b', 6, 100)
  reservations.set('a', 1, 100)
  expect([reservations.of('a'), reservations.of('b'), reservations.of('c'), reservations.total]).toEqual([1, 6, 0, 7])
  reservations.set('b', 0, 100)
  expect([reservations.of('b'), reservations.total]).toEqual([0, 1])
})

test('as much of it is set aside as is free when it is promised, or when nobody waits', () => {
  const reservations = new Reservations()
  reservations.set('a', 4, 3)
  expect(reservations.aside).toBe(3)
  reservations.setAside(10)
  expect(reservations.aside).toBe(4)
  reservations.set('a', 2, 10)
  expect(reservations.aside).toBe(2)
})

test('whoever takes a chunk leaves the others what was set aside for them', () => {
  const reservations = new Reservations()
  reservations.set('a', 4, 6)
  reservations.set('b', 6, 6)
  expect(reservations.aside).toBe(6)
  for (let taken = 0; taken < 4; taken++) reservations.take('a')
  expect([reservations.of('a'), reservations.total, reservations.aside]).toEqual([0, 6, 2])
})

test('while room is made all of it is set aside, as far as it gets', () => {
  const reservations = new Reservations()
  reservations.set('a', 8, 0)
  expect(reservations.aside).toBe(0)
  reservations.isPressing = true
  expect(reservations.aside).toBe(8)
  reservations.isPressing = false
  expect(reservations.aside).toBe(0)
})

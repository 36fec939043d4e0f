import { expect, test } from 'vitest'
import { Room } from '../../../../src/engine/worker/room.js'

async function entered(room: Room, bytes: number, log: number[]): Promise<void> {
  await room.enter(bytes)
  log.push(bytes)
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('who finds no room waits, in order, also where a later one would fit', async () => {
  const room = new Room(100)
  const log: number[] = []
  for (const bytes of [60, 50, 10, 30]) void entered(room, bytes, log)
  await turn()
  expect(log).toEqual([60])
  room.leave(60)
  await turn()
  expect(log).toEqual([60, 50, 10, 30])
})

test('one of any size is let through, alone', async () => {
  const room = new Room(100)
  const log: number[] = []
  for (const bytes of [1, 500, 1]) void entered(room, bytes, log)
  await turn()
  expect(log).toEqual([1])
  room.leave(1)
  await turn()
  expect(log).toEqual([1, 500])
  room.leave(500)
  await turn()
  expect(log).toEqual([1, 500, 1])
})

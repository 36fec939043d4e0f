import { describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../../src/base/random.js'
import { SlotList, Slots } from '../../../../src/engine/replacement/slot-lists.js'

describe('Slots and SlotList', () => {
  it('agree with an array under any mixture of calls', () => {
    for (const seed of [1, 2, 3, 4]) {
      const random = new SeededRandom(seed)
      const capacity = 1 + random.below(60)
      const slots = new Slots(capacity)
      const list = new SlotList(slots)
      const model: number[] = []
      for (let step = 0; step < 20_000; step++) {
        const key = random.below(100) * (seed % 2 === 0 ? 1 : 2 ** 25)
        const slot = slots.find(key)
        expect(slot >= 0).toBe(model.includes(key))
        const action = random.below(3)
        if (slot < 0 && model.length < capacity) {
          list.push(slots.add(key))
          model.push(key)
        } else if (slot < 0 || action === 0) {
          expect(slots.keys[list.oldest]).toBe(model.shift())
          slots.delete(list.shift())
        } else {
          model.splice(model.indexOf(key), 1)
          list.remove(slot)
          if (action === 1) slots.delete(slot)
          else {
            list.push(slot)
            model.push(key)
          }
        }
        expect(list.length).toBe(model.length)
      }
      const order: number[] = []
      for (let slot = list.oldest; slot >= 0; slot = slots.newer[slot]!) order.push(slots.keys[slot]!)
      expect(order).toEqual(model)
      const backwards: number[] = []
      for (let slot = list.newest; slot >= 0; slot = slots.older[slot]!) backwards.unshift(slots.keys[slot]!)
      expect(backwards).toEqual(model)
    }
  })

  it('refuses more keys than slots', () => {
    const slots = new Slots(1)
    slots.add(1)
    expect(() => slots.add(2)).toThrow('a slot is free')
  })
})

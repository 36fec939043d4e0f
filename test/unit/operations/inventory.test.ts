import { expect, test } from 'vitest'
import { createInventory, exclusively, inBackground, isBusy } from '../../../src/operations/inventory.js'

test('what the engine does by itself is waited for, what others do is a conflict', async () => {
  const inventory = createInventory()
  const done: string[] = []
  let end = (): void => {}
  const looking = inBackground(inventory, 'vm web01', () => new Promise<void>((resolve) => (end = resolve)))
  expect(inventory.busy).toEqual(new Set(['vm web01']))
  expect(isBusy(inventory, 'vm web01')).toBe(false)
  const stopping = exclusively(inventory, 'vm web01', async () => {
    done.push('stopped')
    expect(isBusy(inventory, 'vm web01')).toBe(true)
    await expect(inBackground(inventory, 'vm web01', async () => {})).rejects.toMatchObject({ code: 'JOB_CONFLICT' })
    await expect(exclusively(inventory, 'vm web01', async () => {})).rejects.toMatchObject({ code: 'JOB_CONFLICT' })
  })
  await exclusively(inventory, 'vm web02', async () => void done.push('another'))
  expect(done).toEqual(['another'])
  end()
  await looking
  await stopping
  expect(done).toEqual(['another', 'stopped'])
  await expect(inBackground(inventory, 'vm web01', () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  await exclusively(inventory, 'vm web01', async () => void done.push('again'))
  expect(done.at(-1)).toBe('again')
})

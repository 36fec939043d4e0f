import { uptime } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { bootId, bootTimeMilliseconds } from '../../../../src/base/system-calls.js'

it('counts from the boot and only rises', async () => {
  const first = bootTimeMilliseconds()
  await sleep(20)
  const second = bootTimeMilliseconds()
  expect(second - first).toBeGreaterThanOrEqual(19)
  expect(Math.abs(second - uptime() * 1000)).toBeLessThan(5000)
})

it('names this boot', () => {
  expect(bootId()).toMatch(/^[0-9a-f]{32}$/)
  expect(bootId()).toBe(bootId())
})

import { expect, test } from 'vitest'
import { maximumBytes, quotaBytes } from '../../../src/cli/quota.js'

test('bytes are bytes, and the cache is not asked for', async () => {
  const never = async () => Promise.reject(new Error('asked'))
  expect(await quotaBytes({ bytes: 4096 }, never)).toBe(4096)
  expect(await maximumBytes({ share: 1 }, never)).toBeNull()
})

test('a share is one of the cache, in whole bytes', async () => {
  expect(await quotaBytes({ share: 0.2 }, async () => 1001)).toBe(200)
  expect(await maximumBytes({ share: 0.5 }, async () => 1000)).toBe(500)
})

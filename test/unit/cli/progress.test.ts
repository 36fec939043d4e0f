import { expect, test } from 'vitest'
import { amountText, progressText } from '../../../src/cli/progress.js'
import { job } from '../../support/sample-documents.js'

test('what is done, of how much, and what it is about', () => {
  expect(progressText(job)).toBe('disk.flush of disk db01/vda: 300 MB of 1.2 GB (25 %)')
  expect(progressText({ ...job, progress: null })).toBe('disk.flush of disk db01/vda')
})

test.each([
  [{ done: 12, total: 40, unit: 'chunks', note: null }, '12 of 40 chunks (30 %)'],
  [{ done: 7, total: null, unit: 'items', note: 'reading' }, '7 items, reading'],
  [{ done: 0, total: 0, unit: 'bytes', note: null }, '0 of 0'],
  [{ done: 2 ** 20, total: null, unit: 'bytes', note: null }, '1 MB'],
] as const)('%j is %j', (progress, text) => {
  expect(amountText(progress)).toBe(text)
})

import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { parseDevice } from '../../../src/cli/device-specification.js'

test.each([
  ['/dev/nvme1n1', '/dev/nvme1n1', null],
  ['/cache,size=10g', '/cache', 10 * 1024 ** 3],
  ['cache', resolve('cache'), null],
  ['/a,b', '/a,b', null],
  ['/a,size=1k,size=2k', '/a,size=1k', 2048],
])('%j', (text, path, sizeBytes) => {
  expect(parseDevice(text)).toEqual({ path, sizeBytes })
})

test.each([
  ['', 'USAGE'],
  [',size=1g', 'USAGE'],
  ['/a,size=', 'BAD_SIZE'],
  ['/a,size=ten', 'BAD_SIZE'],
])('%j is refused with %s', (text, code) => {
  expect(() => parseDevice(text)).toThrow(expect.objectContaining({ code }))
})

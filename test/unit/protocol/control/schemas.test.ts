import { expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import { methodOf, READS } from '../../../../src/protocol/control/routes.js'
import { isOperation, parsePost, parseQuery } from '../../../../src/protocol/control/schemas.js'

const query = (text = ''): URLSearchParams => new URLSearchParams(text)

function message(parse: () => unknown): string {
  try {
    return JSON.stringify(parse())
  } catch (error) {
    if (!(error instanceof VmcacheError)) throw error
    return `${error.code} ${error.message}`
  }
}

test('what is left out has its default', () => {
  expect(parsePost('cache.delete', '{"name":"fast"}', query())).toEqual({
    request: { name: 'fast', discardDirty: false, dryRun: false },
    waitMilliseconds: 1000,
  })
  expect(parsePost('disk.flush', '', query('waitMilliseconds=0'))).toEqual({
    request: { names: [], all: false, exclude: [], dryRun: false },
    waitMilliseconds: 0,
  })
  expect(parseQuery('stats.show', query())).toEqual({ names: [], window: '5m' })
  expect(parseQuery('event.list', query())).toEqual({ sinceAt: null, vm: null, disk: null })
})

test('a key that stays away from disk.set stays away', () => {
  expect(parsePost('disk.set', '{"name":"a","maxBytes":null}', query()).request).toEqual({
    name: 'a',
    maxBytes: null,
    dryRun: false,
  })
})

test('a query repeats the keys of lists, and numbers are numbers', () => {
  expect(parseQuery('stats.show', query('names=a&names=b&window=1h'))).toEqual({ names: ['a', 'b'], window: '1h' })
  expect(parseQuery('job.show', query('id=x&waitMilliseconds=500'))).toEqual({ id: 'x', waitMilliseconds: 500 })
})

test.each([
  ['{}', '"name": expected string, nothing was given'],
  ['{"name":3}', '"name": expected string, received number'],
  ['{"name":""}', '"name": Too small: expected string to have >=1 characters'],
  ['{"name":"a\\u0000b"}', '"name": contains a zero byte'],
  ['{"name":"a","nme":1}', 'cache.delete: Unrecognized key: "nme"'],
  ['{"name":"a","\\u001b[31m\\n":1}', 'cache.delete: Unrecognized key: " [31m "'],
  ['{"name":"a","dryRun":"yes"}', '"dryRun": expected boolean, received string'],
  ['[]', 'cache.delete: expected object, received array'],
  ['null', 'cache.delete: expected object, received null'],
  ['{"name":', 'cache.delete: the body is not JSON'],
  ['{"name":"a","__proto__":{"x":1}}', 'Unrecognized key: "__proto__"'],
])('%s is refused with its field', (body, expected) => {
  const text = message(() => parsePost('cache.delete', body, query()))
  expect(text).toMatch(/^BAD_REQUEST /)
  expect(text).toContain(expected)
  expect(text).not.toMatch(/[\u0000-\u001f]/)
})

test.each([
  ['names=a&window=2w', '"window": Invalid option'],
  ['window=1h&window=5m', 'stats.show: "window" is given more than once'],
  ['colour=red', 'Unrecognized key: "colour"'],
])('the query %s is refused', (text, expected) => {
  expect(message(() => parseQuery('stats.show', query(text)))).toContain(expected)
})

test.each(['-1', '1e3', '60001', 'x', '', '99999999999'])('waiting for %j milliseconds is refused', (text) => {
  const wait = query(`waitMilliseconds=${text}`)
  expect(message(() => parsePost('engine.restart', '', wait))).toMatch(
    /^BAD_REQUEST engine.restart: "waitMilliseconds"/,
  )
})

test('a field deep inside is named by its path', () => {
  const body = '{"name":"a","devices":[{"path":"/dev/x"},{"path":3}],"blockSizeBytes":4096,"chunkSizeBytes":1}'
  expect(message(() => parsePost('cache.create', body, query()))).toContain(
    'cache.create: "devices[1].path": expected string',
  )
})

test('sizes beyond exact numbers are refused', () => {
  const body = '{"name":"a","devices":[{"path":"/x"}],"blockSizeBytes":1e17,"chunkSizeBytes":1}'
  expect(message(() => parsePost('cache.create', body, query()))).toContain('"blockSizeBytes"')
})

test('operations are those of the route table, and nothing that an object has by itself', () => {
  expect(READS.every(isOperation)).toBe(true)
  expect(methodOf('cache.create')).toBe('POST')
  for (const name of ['constructor', 'toString', '__proto__', 'cache', 'cache.create.x', '']) {
    expect(isOperation(name)).toBe(false)
  }
})

import { describe, expect, it } from 'vitest'
import {
  formatCount,
  formatDuration,
  formatMicroseconds,
  formatRatio,
  formatSize,
  parseDuration,
  parsePercent,
  parseSize,
} from '../../../src/base/units.js'

/** What no parser of this file may take for a number, with a good unit behind it. */
const BAD_NUMBERS = [
  '',
  '-1',
  '+1',
  '1.5',
  '1,5',
  '0x10',
  '1e3',
  '00',
  '012',
  ' 1',
  '1 ',
  '1_000',
  '١٢',
  '１',
  'NaN',
  'Infinity',
  '1\n',
]

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['512', 512],
    ['4k', 4096],
    ['4K', 4096],
    ['4KiB', 4096],
    ['4kib', 4096],
    ['16m', 16 * 2 ** 20],
    ['10G', 10 * 2 ** 30],
    ['1t', 2 ** 40],
    ['8191t', 8191 * 2 ** 40],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%s', (text, bytes) => expect(parseSize(text)).toBe(bytes))

  const refused = [
    ...BAD_NUMBERS.flatMap((number) => [number, `${number}g`, `${number}GiB`]),
    ...['10x', 'g', 'GiB', '1gg', '1 g', '1b', '1iB', '1gb', '1gi', '1p', '1\u212a', '20%', '10m\n'],
    ...['8192t', '9007199254740992', '99999999999999999999999999999'],
  ]
  it.each(refused.map((text) => [text]))('refuses %j', (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'BAD_SIZE', exit: 2 }))
  })

  it('says what it saw and what it expects, in one line', () => {
    expect(() => parseSize('10x')).toThrow(
      '"10x" is not a size: expected a whole number with k, m, g or t, such as 512, 4k, 16m or 10g',
    )
    expect(() => parseSize('8192t')).toThrow('"8192t" is not a size: expected at most 9007199254740991 bytes (8191t)')
    expect(() => parseSize(`1\n${'x'.repeat(1000)}`)).toThrow(/^"1\\nx{38}\.\.\." is not a size: [^\n]*$/)
  })
})

describe('parseDuration', () => {
  it.each([
    ['0s', 0],
    ['30s', 30],
    ['10m', 600],
    ['1h', 3600],
    ['2d', 172_800],
  ])('%s', (text, seconds) => expect(parseDuration(text)).toBe(seconds))

  const refused = [
    ...BAD_NUMBERS.flatMap((number) => [number, `${number}s`]),
    ...['10', '10S', '10M', '10ms', '1h30m', '1w', 's', '10 s', '\u0661s', '99999999999999999d', '9007199254740s1'],
  ]
  it.each(refused.map((text) => [text]))('refuses %j', (text) => {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'BAD_DURATION', exit: 2 }))
  })

  it('stays exact in milliseconds', () => {
    expect(parseDuration('104249991d')).toBe(104249991 * 86_400)
    expect(() => parseDuration('104249992d')).toThrow('expected at most 104249991d')
  })
})

describe('parsePercent', () => {
  it.each([
    ['0%', 0],
    ['20%', 0.2],
    ['100%', 1],
  ])('%s', (text, share) => expect(parsePercent(text)).toBe(share))

  it.each([...BAD_NUMBERS.map((number) => `${number}%`), '20', '101%', '%', '20 %', '20%%'].map((text) => [text]))(
    'refuses %j',
    (text) => {
      expect(() => parsePercent(text)).toThrow(expect.objectContaining({ code: 'USAGE', exit: 2 }))
    },
  )
})

describe('for people', () => {
  it.each([
    [0, '0'],
    [1, '1 B'],
    [512, '512 B'],
    [1023, '1023 B'],
    [1024, '1 KB'],
    [1.2 * 2 ** 30, '1.2 GB'],
    [9.96 * 2 ** 20, '10 MB'],
    [480 * 2 ** 30, '480 GB'],
    [1024 * 2 ** 20 - 1, '1 GB'],
    [1.6 * 2 ** 40, '1.6 TB'],
    [Number.MAX_SAFE_INTEGER, '8 PB'],
  ])('%d bytes are %s', (bytes, text) => expect(formatSize(bytes)).toBe(text))

  it.each([
    [0, '0 s'],
    [38.9, '38 s'],
    [119, '119 s'],
    [120, '2 min'],
    [7199, '119 min'],
    [7200, '2 h'],
    [172_799, '47 h'],
    [12 * 86_400 + 5, '12 d'],
  ])('%d seconds are %s', (seconds, text) => expect(formatDuration(seconds)).toBe(text))

  it.each([
    [62, '62 us'],
    [1.25, '1.3 us'],
    [999.4, '999 us'],
    [999.6, '1 ms'],
    [1100, '1.1 ms'],
    [999_700, '1 s'],
    [2_000_000, '2 s'],
  ])('%d microseconds are %s', (microseconds, text) => expect(formatMicroseconds(microseconds)).toBe(text))

  it.each([
    [0, '0'],
    [0.25, '0.3'],
    [4210, '4210'],
    [99_999, '99999'],
    [123_456, '123 k'],
    [999_700, '1 M'],
    [1_234_567, '1.2 M'],
    [15e9, '15 G'],
    [2e12, '2000 G'],
  ])('a count of %d is %s', (count, text) => expect(formatCount(count)).toBe(text))

  it.each([
    [0, '0 %'],
    [0.001, '<1 %'],
    [0.94, '94 %'],
    [0.9999, '>99 %'],
    [1, '100 %'],
  ])('a ratio of %d is %s', (ratio, text) => expect(formatRatio(ratio)).toBe(text))
})

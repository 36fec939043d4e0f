import { expect, test } from 'vitest'
import { DEFAULT_DISK_SETTINGS, diskPolicy, diskSettings, settingText } from '../../../src/model/policy.js'
import { resolvePolicy, type LevelPolicy } from '../../../src/model/resolve-policy.js'

const levels = (...policies: LevelPolicy['policy'][]): LevelPolicy[] =>
  (['disk', 'vm', 'cache', 'host'] as const).map((level, index) => ({ level, policy: policies[index] ?? {} }))

test('of each setting the nearest level that has it says what is wanted', () => {
  const { wanted, sources } = resolvePolicy(
    levels(
      { shares: 1 },
      { shares: 2, mode: 'write-back' },
      { shares: 3, mode: 'write-around', minBytes: 5 },
      { shares: 4, minBytes: 6, replacement: 'lru' },
    ),
    DEFAULT_DISK_SETTINGS,
  )
  expect(wanted).toEqual({ ...DEFAULT_DISK_SETTINGS, shares: 1, mode: 'write-back', minBytes: 5, replacement: 'lru' })
  expect(sources).toMatchObject({
    shares: 'disk',
    mode: 'vm',
    minBytes: 'cache',
    replacement: 'host',
    maxBytes: 'default',
  })
})

test('nothing set is the default, null is set, and settings of others are left out', () => {
  expect(resolvePolicy([], { maxBytes: 7 })).toEqual({ wanted: { maxBytes: 7 }, sources: { maxBytes: 'default' } })
  const above = levels({ maxBytes: null }, {}, { maxBytes: 9 }, { timeZone: 'Europe/Berlin' })
  expect(resolvePolicy(above, { maxBytes: 7 })).toEqual({ wanted: { maxBytes: null }, sources: { maxBytes: 'disk' } })
})

test('settings and policies are two forms of the same', () => {
  const settings = { ...DEFAULT_DISK_SETTINGS, dirtyHighBytes: 5, destageBarrier: 'answer' as const }
  expect(diskPolicy(settings).writeBack).toMatchObject({ barrier: 'answer', dirtyHighBytes: 5 })
  expect(diskSettings(diskPolicy(settings))).toEqual(settings)
})

test.each([
  ['maxBytes', null, 'the whole cache'],
  ['dirtyHighBytes', null, 'default'],
  ['minBytes', 2 ** 31, '2 GB'],
  ['dirtyAgeSeconds', 90, '90 s'],
  ['idleTimeoutSeconds', null, 'off'],
  ['timeZone', null, 'that of the engine'],
  ['shares', 100, '100'],
  ['mode', 'write-back', 'write-back'],
] as const)('%s %s is %s to people', (key, value, text) => {
  expect(settingText(key, value)).toBe(text)
})

import { expect, test } from 'vitest'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import { claimsOf, conflictOf, objectText, type ClaimNames } from '../../../src/daemon/job-claims.js'

const names: ClaimNames = {
  disksOf: ({ names, all }) => (all ? ['a', 'b', 'c', 'd'] : names),
  vmsOf: ({ names }) => names,
  diskNameOf: (origin) => origin.replace(/^.*\//, ''),
}
const targets = (...disks: string[]) => ({ names: disks, all: false, exclude: [], dryRun: false })

test('a change of disks claims those that are meant', () => {
  expect(objectText(claimsOf('disk.flush', targets('web', 'db'), names))).toBe('disk web, disk db')
  expect(objectText(claimsOf('disk.flush', { ...targets(), all: true }, names))).toBe('disk a, disk b and 2 more')
  expect(objectText(claimsOf('disk.flush', targets(), names))).toBe('')
})

test('an attachment claims its disk by the name that it will have, and leans on its cache', () => {
  const request = {
    cache: 'fast',
    origin: '/images/web.img',
    name: null,
    mode: 'write-through',
    replacement: 's3-fifo',
    minBytes: 0,
    maxBytes: null,
    shares: 100,
    writeBack: DEFAULT_WRITE_BACK,
    readOnly: false,
    exclusive: false,
    dryRun: false,
  } as const
  const attach = claimsOf('cache.attach', request, names)
  expect(objectText(attach)).toBe('disk web.img')
  expect(conflictOf(attach, claimsOf('disk.flush', targets('web.img'), names))).toBe('disk web.img')
  expect(conflictOf(attach, claimsOf('cache.attach', { ...request, name: 'other' }, names))).toBeNull()
  const remove = claimsOf('cache.delete', { name: 'fast', discardDirty: false, dryRun: false }, names)
  expect(conflictOf(attach, remove)).toBe('cache fast')
  expect(conflictOf(remove, attach)).toBe('cache fast')
})

test('two caches are not made of one device at a time', () => {
  const create = (name: string, path: string) =>
    claimsOf(
      'cache.create',
      {
        name,
        devices: [{ path, sizeBytes: null }],
        blockSizeBytes: 4096,
        chunkSizeBytes: 1,
        force: false,
        dryRun: false,
      },
      names,
    )
  expect(objectText(create('a', '/dev/x'))).toBe('cache a')
  expect(conflictOf(create('a', '/dev/x'), create('b', '/dev/x'))).toBe('device /dev/x')
  expect(conflictOf(create('a', '/dev/x'), create('b', '/dev/y'))).toBeNull()
})

test('a filter of VMs may wait for hours, and is in the way of nobody', () => {
  const suspend = (...vms: string[]) =>
    claimsOf('vm.suspend', { ...targets(...vms), idleSeconds: null, perHour: 1, atOnce: null }, names)
  const all = claimsOf('vm.suspend', { ...targets(), all: true, idleSeconds: 60, perHour: 1, atOnce: null }, names)
  expect(objectText(all)).toBe('queue of suspends')
  expect(conflictOf(all, claimsOf('vm.start', targets('web01'), names))).toBeNull()
  expect(conflictOf(all, suspend('web*'))).toBeNull()
  expect(conflictOf(suspend('web01'), claimsOf('vm.stop', { ...targets('web01'), force: false }, names))).toBe(
    'vm web01',
  )
})

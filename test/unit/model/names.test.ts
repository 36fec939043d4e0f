import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { checkedCacheName, checkedDiskName, defaultDiskName } from '../../../src/model/names.js'

const BAD = ['', '.', '..', '-x', '.x', 'a b', 'a\n', 'a\0', 'ä', 'a*', 'a"', "a'", 'a;b', 'a\\b', '$a']

describe('names', () => {
  test.each(['fast', 'a', '0', 'Fast-1_b.c', 'x'.repeat(64)])('a cache may be called %s', (name) => {
    expect(checkedCacheName(name)).toBe(name)
  })

  test.each([...BAD, 'a/b', 'x'.repeat(65)])('a cache may not be called %j', (name) => {
    expect(() => checkedCacheName(name)).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
  })

  test.each(['web01', 'web01/vda', 'a/b/c.d', 'x'.repeat(128)])('a disk may be called %s', (name) => {
    expect(checkedDiskName(name)).toBe(name)
  })

  test.each([...BAD, '/', '/a', 'a/', 'a//b', 'a/../b', 'a/./b', 'a/.b', 'x'.repeat(129)])(
    'a disk may not be called %j',
    (name) => {
      expect(() => checkedDiskName(name)).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
    },
  )
})

describe('the default name of a disk', () => {
  test.each([
    ['/images/web01.qcow2', 'web01'],
    ['/images/web01.img', 'web01'],
    ['/images/WEB01.RAW', 'WEB01'],
    ['/images/debian-12.7', 'debian-12.7'],
    ['/images/db.2026.img', 'db.2026'],
    ['/images/my disk (1).img', 'my-disk-1-'],
    ['/images/.hidden.img', 'hidden'],
    ['/dev/vg0/web01', 'web01'],
    ['/dev/disk/by-id/nvme-Samsung_1', 'nvme-Samsung_1'],
    ['nbd://store/web01', 'web01'],
    ['nbd://store:10810/pool/web01.img', 'web01'],
    ['nbd://store/a%20b', 'a-b'],
    ['nbd://store', 'store'],
    ['nbd://store/', 'store'],
    ['nbd+unix:///web01?socket=/run/x.sock', 'web01'],
    ['nbd+unix:///?socket=/run/web01.sock', 'web01'],
  ])('of %s is %s', (origin, name) => {
    expect(defaultDiskName(origin)).toBe(name)
  })

  test.each(['/', '', '/images/---'])('%j gives none', (origin) => {
    expect(() => defaultDiskName(origin)).toThrow(
      expect.objectContaining({ code: 'USAGE', hint: 'name it: --name DISK' }),
    )
  })

  test('is one that a disk may have, or an error, whatever the origin is', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.string().map((text) => `nbd://${text}`),
        ),
        (origin) => {
          let name: string
          try {
            name = defaultDiskName(origin)
          } catch (error) {
            expect(error).toBeInstanceOf(VmcacheError)
            return
          }
          expect(checkedDiskName(name)).toBe(name)
        },
      ),
    )
  })
})

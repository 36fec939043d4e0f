import { mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { stablePath } from '../../../src/operations/stable-path.js'

/** A directory like /dev/disk/by-id with links to a device of the kernel that every machine has. */
function byId(...names: string[]): string {
  const directory = mkdtempSync(join(realpathSync(tmpdir()), 'vmcache-by-id-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  for (const name of names) symlinkSync('/dev/null', join(directory, name))
  symlinkSync('/dev/zero', join(directory, 'ata-other'))
  return directory
}

test('the name of the kernel gives way to the one that says model and serial number', async () => {
  const directory = byId('wwn-0x5', 'nvme-eui.0025', 'nvme-Samsung_990_S1_1', 'nvme-Samsung_990_S1')
  expect(await stablePath('/dev/null', directory)).toBe(join(directory, 'nvme-Samsung_990_S1'))
})

test('a world-wide name is better than none', async () => {
  const directory = byId('wwn-0x5')
  expect(await stablePath('/dev/null', directory)).toBe(join(directory, 'wwn-0x5'))
})

test.each(['/dev/full', '/dev/disk/by-path/x', '/dev/vg0/cache', '/srv/cache.img', 'relative'])(
  '%s stays',
  async (path) => {
    expect(await stablePath(path, byId('wwn-0x5'))).toBe(path)
  },
)

test('a machine without such names keeps the path', async () => {
  expect(await stablePath('/dev/null', join(tmpdir(), 'vmcache-no-such-directory'))).toBe('/dev/null')
})

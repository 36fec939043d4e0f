import { mkdtempSync, realpathSync, rmSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { createOriginObserver } from '../../../src/operations/observe-origin.js'
import { attachLoopDevice, whyNoLoopDevices } from '../../support/block-devices.js'

const observe = createOriginObserver(systemClock)

function directory(): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'vmcache-observe-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('a file is known by its path without links, its inode, size and time', async () => {
  const image = join(directory(), 'web01.img')
  writeFileSync(image, '')
  truncateSync(image, 4096)
  utimesSync(image, 1000, 1000.5)
  const link = `${image}.link`
  symlinkSync(image, link)
  const seen = await observe(link)
  expect(seen).toMatchObject({ kind: 'file', uri: image, path: image, sizeBytes: 4096, modifiedAt: '1000500000000' })
  expect(seen.inode).toMatch(/^\d+$/)
  expect(await observe(image)).toEqual(seen)
})

test('an NBD URI is known by its one spelling, and is not connected to', async () => {
  const seen = await observe('nbd://STORE:10809/web01')
  expect(seen).toMatchObject({ kind: 'nbd', sizeBytes: null, inode: null, modifiedAt: null })
  expect((await observe(seen.uri)).identity).toBe(seen.identity)
})

test('one that cannot be a disk is refused', async () => {
  const image = join(directory(), 'large.img')
  writeFileSync(image, '')
  const refused = expect.objectContaining({ code: 'ORIGIN_SIZE' })
  await expect(observe(image)).rejects.toEqual(refused)
  truncateSync(image, 1000)
  await expect(observe(image)).rejects.toEqual(refused)
})

test('a file in place of a directory on the way is not found', async () => {
  const image = join(directory(), 'web01.img')
  writeFileSync(image, '')
  await expect(observe(join(image, 'x'))).rejects.toMatchObject({ code: 'ORIGIN_NOT_FOUND' })
})

test('a block device shows its size and no times', async (context) => {
  const reason = await whyNoLoopDevices()
  if (reason !== null) return context.skip(reason)
  const file = join(directory(), 'device.img')
  writeFileSync(file, '')
  truncateSync(file, 2 ** 20)
  const device = await attachLoopDevice(file)
  onTestFinished(() => device.detach())
  const seen = await observe(device.path)
  expect(seen).toMatchObject({ kind: 'block', path: device.path, sizeBytes: 2 ** 20, inode: null, modifiedAt: null })
})

test('storage that does not answer in time is given up', async () => {
  let due: () => void = () => {}
  const hurried = createOriginObserver({ ...systemClock, after: (_, callback) => ((due = callback), () => {}) })
  const first = hurried(join(directory(), 'none.img'))
  due()
  await expect(first).rejects.toMatchObject({ code: 'ORIGIN_FAILED', message: expect.stringContaining('10 s') })
})

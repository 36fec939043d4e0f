import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { describeDevice } from '../../../../src/engine/device/describe-device.js'
import { lockDevice } from '../../../../src/engine/device/lock-device.js'
import { openDevice } from '../../../../src/engine/device/open-device.js'
import { attachLoopDevice, whyNoLoopDevices, type LoopDevice } from '../../../support/block-devices.js'
import { describeUnless, testUnless } from '../../../support/conditions.js'

const MEBIBYTE = 1024 * 1024
const noLoopDevices = await whyNoLoopDevices()

let directory: string
let path: string

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-device-'))
  path = join(directory, 'device')
  await writeFile(path, Buffer.alloc(MEBIBYTE + 100))
})

afterEach(() => rmSync(directory, { recursive: true }))

describe('openDevice', () => {
  it('says what is missing, and what is no device', async () => {
    await mkdir(join(directory, 'directory'))
    execFileSync('mkfifo', [join(directory, 'fifo')])
    await expect(openDevice(join(directory, 'none'))).rejects.toMatchObject({
      code: 'DEVICE_NOT_FOUND',
      message: `cannot open device ${join(directory, 'none')}: it does not exist`,
    })
    for (const name of ['directory', 'fifo']) {
      await expect(openDevice(join(directory, name))).rejects.toMatchObject({
        code: 'REFUSED',
        message: expect.stringContaining(name),
      })
    }
    await expect(openDevice('/dev/null')).rejects.toMatchObject({ code: 'REFUSED' })
  })

  it('uses whole blocks only', async () => {
    const device = await openDevice(path)
    expect(device.sizeBytes).toBe(MEBIBYTE)
    await expect(device.write(0, Buffer.alloc(100))).rejects.toThrow(/whole/)
    await device.close()
  })

  it('looks without the right to write', async () => {
    const device = await openDevice(path, { readOnly: true })
    const target = Buffer.alloc(512, 1)
    await device.read(0, target, 0, 512)
    expect(target.every((byte) => byte === 0)).toBe(true)
    await expect(device.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
    await device.close()
  })
})

describe('describeDevice', () => {
  it('sends only what was written full once through the page cache', async ({ skip }) => {
    const { buffered } = await describeDevice(path)
    if (!buffered) skip('the file system of the temporary directory does not overwrite in place')
    const holed = join(directory, 'holed')
    await writeFile(holed, Buffer.alloc(MEBIBYTE))
    await truncate(holed, 2 * MEBIBYTE)
    expect((await describeDevice(holed)).buffered).toBe(false)
    const allocated = join(directory, 'allocated')
    await writeFile(allocated, Buffer.alloc(MEBIBYTE))
    execFileSync('fallocate', ['--length', String(2 * MEBIBYTE), allocated])
    expect((await describeDevice(allocated)).buffered).toBe(false)
  })

  it('describes a file', async () => {
    await symlink(path, join(directory, 'link'))
    expect(await describeDevice(join(directory, 'link'))).toMatchObject({
      path: join(directory, 'link'),
      kind: 'file',
      sizeBytes: MEBIBYTE + 100,
      stablePath: path,
      diskSequence: null,
    })
  })

  testUnless(noLoopDevices, 'describes a block device', async () => {
    await writeFile(path, Buffer.alloc(MEBIBYTE))
    const loop = await attachLoopDevice(path, { logicalBlockBytes: 4096 })
    try {
      const description = await describeDevice(loop.path)
      expect(description).toMatchObject({
        kind: 'block',
        sizeBytes: MEBIBYTE,
        logicalBlockBytes: 4096,
        buffered: false,
      })
      expect(description.diskSequence).toBeGreaterThan(0)
    } finally {
      await loop.detach()
    }
  })
})

describe('lockDevice', () => {
  it('keeps a second engine out until it is released, and not our own threads', async () => {
    const lock = await lockDevice(path)
    await expect(lockDevice(path)).rejects.toMatchObject({
      code: 'IN_USE',
      message: `device ${path} is in use by another cache or engine`,
    })
    await (await openDevice(path)).close()
    await expect(lockDevice(path)).rejects.toMatchObject({ code: 'IN_USE' })
    await lock.release()
    await (await lockDevice(path)).release()
  })

  describeUnless(noLoopDevices, 'of a block device', () => {
    let loop: LoopDevice

    beforeEach(async () => {
      await writeFile(path, Buffer.alloc(4 * MEBIBYTE))
      loop = await attachLoopDevice(path)
    })

    afterEach(() => loop.detach())

    it('keeps a second engine out, and not our own threads', async () => {
      const lock = await lockDevice(loop.path)
      await expect(lockDevice(loop.path)).rejects.toMatchObject({ code: 'IN_USE' })
      await (await openDevice(loop.path)).close()
      await lock.release()
    })

    it('is refused while it is mounted', async () => {
      execFileSync('mke2fs', ['-q', loop.path])
      const mountPoint = join(directory, 'mount')
      await mkdir(mountPoint)
      execFileSync('mount', [loop.path, mountPoint])
      try {
        await expect(lockDevice(loop.path)).rejects.toMatchObject({
          code: 'IN_USE',
          message: expect.stringContaining('mounted'),
        })
      } finally {
        execFileSync('umount', [mountPoint])
      }
    })
  })
})

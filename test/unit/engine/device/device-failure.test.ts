/**
 * Devices that break under us, for real: a file system without room, a disk that vanishes below a file system, a block device
 * that vanishes itself. Needs root.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createDeviceFile } from '../../../../src/engine/device/create-device-file.js'
import type { Device } from '../../../../src/engine/device/device.js'
import { openDevice } from '../../../../src/engine/device/open-device.js'
import { attachLoopDevice, whyNoLoopDevices } from '../../../support/block-devices.js'
import { describeUnless } from '../../../support/conditions.js'

const MEBIBYTE = 1024 * 1024
const missing = await whyNoLoopDevices()

describeUnless(missing, 'D7: a device that fails', () => {
  let directory: string
  let mountPoint: string
  let cleanUp: (() => Promise<void> | void)[]

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vmcache-failure-'))
    mountPoint = join(directory, 'mount')
    await mkdir(mountPoint)
    cleanUp = []
  })

  afterEach(async () => {
    for (const step of cleanUp.reverse()) await step()
    rmSync(directory, { recursive: true })
  })

  const mount = (...args: string[]): void => {
    execFileSync('mount', [...args, mountPoint])
    cleanUp.push(() => void execFileSync('umount', ['--lazy', mountPoint]))
  }

  const openForTest = async (path: string): Promise<Device> => {
    const device = await openDevice(path)
    cleanUp.push(() => device.close())
    return device
  }

  /** A block device that takes no more writes from `break` on: what is behind it has lost its room. */
  async function attachBreakableDisk(): Promise<{ path: string; break(): Promise<void> }> {
    const storage = join(directory, 'storage')
    await mkdir(storage)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', storage])
    cleanUp.push(() => void execFileSync('umount', ['--lazy', storage]))
    const disk = join(storage, 'disk')
    await writeFile(disk, Buffer.alloc(32 * MEBIBYTE))
    const loop = await attachLoopDevice(disk)
    cleanUp.push(() => loop.detach())
    return {
      path: loop.path,
      async break() {
        await truncate(disk, 0)
        const filler = writeFile(join(storage, 'filler'), Buffer.alloc(48 * MEBIBYTE))
        await expect(filler).rejects.toMatchObject({ code: 'ENOSPC' })
      },
    }
  }

  async function expectFailed(device: Device): Promise<void> {
    const failure = { code: 'DEVICE_FAILED', message: expect.stringContaining(`device ${device.path} has failed`) }
    const sector = Buffer.alloc(4096)
    await expect(device.write(0, sector)).rejects.toMatchObject(failure)
    await expect(device.read(0, sector, 0, 4096)).rejects.toMatchObject(failure)
    await expect(device.commit([{ offset: 0, length: 4096 }])).rejects.toMatchObject(failure)
    expect(() => device.tryRead(0, sector, 0, 4096)).toThrow(expect.objectContaining(failure))
  }

  it('for good when a write finds no room', async () => {
    mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs')
    const path = join(mountPoint, 'sparse')
    await writeFile(path, '')
    await truncate(path, 4 * MEBIBYTE)
    const device = await openForTest(path)
    await device.write(0, Buffer.alloc(4096, 1))
    await expect(device.write(4096, Buffer.alloc(2 * MEBIBYTE, 1))).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringMatching(/cannot write 2097152 bytes at 4096: ENOSPC/),
    })
    await expectFailed(device)
  })

  it('for good when the disk below a file refuses a commit', async () => {
    const disk = await attachBreakableDisk()
    execFileSync('mke2fs', ['-q', '-t', 'ext4', disk.path])
    mount(disk.path)
    const path = join(mountPoint, 'device')
    await createDeviceFile(path, 4 * MEBIBYTE, { progress: () => {}, signal: new AbortController().signal })
    const device = await openForTest(path)
    await device.write(0, Buffer.alloc(MEBIBYTE, 1))
    await disk.break()
    await expect(device.commit([{ offset: 0, length: MEBIBYTE }])).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringMatching(/has failed: cannot commit: (EIO|ENOSPC)/),
    })
    await expectFailed(device)
  })

  it('for good when a block device refuses a write', async () => {
    const disk = await attachBreakableDisk()
    const device = await openForTest(disk.path)
    await device.write(0, Buffer.alloc(4096, 1))
    await disk.break()
    await expect(device.write(0, Buffer.alloc(4096, 2))).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringMatching(/has failed: cannot write 4096 bytes at 0: /),
    })
    await expectFailed(device)
  })

  it('for one read alone when that read fails', async () => {
    const path = join(directory, 'device')
    await writeFile(path, Buffer.alloc(MEBIBYTE))
    const device = await openForTest(path)
    await truncate(path, 4096)
    const target = Buffer.alloc(4096)
    await expect(device.read(8192, target, 0, 4096)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: `device ${path}: cannot read 4096 bytes at 8192: it ends at byte 8192, within what was to be read`,
    })
    expect(device.tryRead(8192, target, 0, 4096)).toBe(false)
    await device.read(0, target, 0, 4096)
  })
})

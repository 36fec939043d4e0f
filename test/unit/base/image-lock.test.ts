import { mkdtempSync, rmSync } from 'node:fs'
import { open, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { lockImage } from '../../../src/base/image-lock.js'
import { isRangeLocked } from '../../../src/base/system-calls.js'
import { describeWith, pathOf } from '../../support/packages.js'
import { Processes, run, until } from '../../support/processes.js'

const MEBIBYTE = 1024 * 1024

let directory: string
let image: string

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-image-'))
  image = join(directory, 'disk.raw')
  await writeFile(image, '')
  await truncate(image, MEBIBYTE)
})

afterEach(() => rmSync(directory, { recursive: true }))

describe('lockImage', () => {
  it('is held by one at a time', async () => {
    const lock = await lockImage(image)
    await expect(lockImage(image)).rejects.toMatchObject({ code: 'IN_USE' })
    await lock.release()
    const again = await lockImage(image)
    await again.release()
  })

  it('names an image that is not there', async () => {
    await expect(lockImage(join(directory, 'none.raw'))).rejects.toMatchObject({
      code: 'ORIGIN_NOT_FOUND',
      message: expect.stringContaining('none.raw'),
    })
  })
})

describeWith(['qemu-io', 'qemu-nbd'], 'lockImage and QEMU', () => {
  /** Looks without locking, so that it is never in QEMU's way. */
  const isReadByAnother = async (): Promise<boolean> => {
    const handle = await open(image)
    return isRangeLocked({ fd: handle.fd, path: image }, 'exclusive', 100, 1).finally(() => handle.close())
  }
  const write = ['-f', 'raw', '-c', 'write 0 64k']

  it('D10: keeps QEMU from writing while it is held, and lets it after', async () => {
    const lock = await lockImage(image)
    const refused = await run(pathOf('qemu-io'), [...write, image])
    expect(refused.code).not.toBe(0)
    expect(refused.stderr).toMatch(/Failed to get "write" lock/)
    expect((await run(pathOf('qemu-io'), ['-r', '-f', 'raw', '-c', 'read 0 64k', image])).code).toBe(0)
    await lock.release()
    expect(await run(pathOf('qemu-io'), [...write, image])).toMatchObject({ code: 0 })
  })

  it('D10: is refused while QEMU has the image open for writing', async () => {
    const processes = new Processes()
    const socket = join(directory, 'socket')
    const server = processes.start(pathOf('qemu-nbd'), ['-t', '-f', 'raw', '-k', socket, image])
    await until('qemu-nbd to lock the image', isReadByAnother)
    await expect(lockImage(image)).rejects.toMatchObject({
      code: 'IN_USE',
      message: `image ${image} is in use by another program: it has it open for consistent read, write`,
    })
    await processes.stop(server)
    await (await lockImage(image)).release()
  })

  it('is refused while QEMU only reads the image', async () => {
    const processes = new Processes()
    const server = processes.start(pathOf('qemu-nbd'), [
      '-t',
      '-r',
      '-f',
      'raw',
      '-k',
      join(directory, 'socket'),
      image,
    ])
    await until('qemu-nbd to lock the image', isReadByAnother)
    await expect(lockImage(image)).rejects.toMatchObject({ code: 'IN_USE' })
    await processes.stop(server)
  })
})

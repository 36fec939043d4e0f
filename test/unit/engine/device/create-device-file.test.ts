import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createDeviceFile } from '../../../../src/engine/device/create-device-file.js'

const MEBIBYTE = 1024 * 1024

let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-create-'))
  path = join(directory, 'device')
})

afterEach(() => rmSync(directory, { recursive: true }))

const quiet = { progress: (): void => {}, signal: new AbortController().signal }

describe('createDeviceFile', () => {
  it('writes every byte of it, readable by its owner alone, and reports how far it is', async () => {
    const seen: [number, number | null][] = []
    await createDeviceFile(path, 9 * MEBIBYTE, { ...quiet, progress: (done, total) => seen.push([done, total]) })
    const { size, blocks, mode } = await stat(path)
    expect(size).toBe(9 * MEBIBYTE)
    expect(blocks * 512).toBeGreaterThanOrEqual(9 * MEBIBYTE)
    expect(mode & 0o777).toBe(0o600)
    expect((await readFile(path)).every((byte) => byte === 0)).toBe(true)
    expect(seen).toEqual([4, 8, 9].map((done) => [done * MEBIBYTE, 9 * MEBIBYTE]))
  })

  it('never touches a file that exists', async () => {
    await writeFile(path, 'precious')
    await expect(createDeviceFile(path, MEBIBYTE, quiet)).rejects.toMatchObject({
      code: 'REFUSED',
      message: `cannot create device ${path}: it exists already`,
    })
    expect(await readFile(path, 'utf8')).toBe('precious')
  })

  it('says that there is no room, at once, and leaves nothing behind', async () => {
    await expect(createDeviceFile(path, 2 ** 50, quiet)).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringContaining(path),
    })
    expect(existsSync(path)).toBe(false)
  })

  it('can be cancelled, and leaves nothing behind', async () => {
    const controller = new AbortController()
    const creation = createDeviceFile(path, 64 * MEBIBYTE, {
      progress: (done) => done >= 8 * MEBIBYTE && controller.abort(),
      signal: controller.signal,
    })
    await expect(creation).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(existsSync(path)).toBe(false)
  })

  it('names a directory that is not there', async () => {
    const lost = join(directory, 'none', 'device')
    await expect(createDeviceFile(lost, MEBIBYTE, quiet)).rejects.toMatchObject({
      code: 'DEVICE_NOT_FOUND',
      message: expect.stringContaining(lost),
    })
  })
})

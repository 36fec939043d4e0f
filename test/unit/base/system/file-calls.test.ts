import { constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { open, readFile, truncate, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  ADVICE,
  advise,
  fallocate,
  FALLOCATE,
  fileSystemMagic,
  nextData,
  nextHole,
  readCached,
  syncFileRange,
  writeDurably,
  type OpenFile,
} from '../../../../src/base/system-calls.js'

const MEBIBYTE = 1024 * 1024

describe('file calls', () => {
  let directory: string
  let handle: FileHandle
  let file: OpenFile

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vmcache-calls-'))
    const path = join(directory, 'file')
    writeFileSync(path, Buffer.alloc(MEBIBYTE, 7))
    handle = await open(path, constants.O_RDWR)
    file = { fd: handle.fd, path }
  })

  afterEach(async () => {
    await handle.close()
    rmSync(directory, { recursive: true })
  })

  it('reads what is in the page cache, at the place asked for', () => {
    const target = Buffer.alloc(8192)
    expect(readCached(file, 4096, target, 100, 4096)).toBe(4096)
    expect(target.subarray(0, 100).every((byte) => byte === 0)).toBe(true)
    expect(target.subarray(100, 4196).every((byte) => byte === 7)).toBe(true)
    expect(target.subarray(4196).every((byte) => byte === 0)).toBe(true)
  })

  it('reads into memory that is shared between threads', () => {
    const shared = Buffer.from(new SharedArrayBuffer(65536))
    expect(readCached(file, 0, shared, 512, 512)).toBe(512)
    expect(shared[511]).toBe(0)
    expect(shared[512]).toBe(7)
  })

  it('reads nothing rather than wait for the device', async () => {
    await handle.sync()
    await advise(file, ADVICE.random)
    await advise(file, ADVICE.dontNeed)
    expect(readCached(file, 512 * 1024, Buffer.alloc(4096), 0, 4096)).toBeLessThan(4096)
  })

  it('says how much is left before the end of the file', () => {
    expect(readCached(file, MEBIBYTE - 512, Buffer.alloc(4096), 0, 4096)).toBe(512)
    expect(readCached(file, MEBIBYTE, Buffer.alloc(4096), 0, 4096)).toBe(0)
  })

  it('writes durably and in the right place', async () => {
    await writeDurably(file, 4096, Buffer.alloc(1024, 9))
    const bytes = await readFile(file.path)
    expect(bytes.subarray(4096, 5120).every((byte) => byte === 9)).toBe(true)
    expect(bytes[4095]).toBe(7)
    expect(bytes[5120]).toBe(7)
  })

  it('keeps the memory of calls in flight, however many there are', async () => {
    const calls = Array.from({ length: 600 }, (_, index) => writeDurably(file, index * 512, Buffer.alloc(512, index)))
    await Promise.all(calls)
    const bytes = await readFile(file.path)
    for (let index = 0; index < 600; index++) expect(bytes[index * 512 + 511]).toBe(index % 256)
  })

  it('pushes a range', async () => {
    await expect(syncFileRange(file, 0, 65536)).resolves.toBeUndefined()
  })

  it('punches holes and finds them', async () => {
    await fallocate(file, FALLOCATE.punchHole | FALLOCATE.keepSize, 65536, 65536)
    expect(await nextHole(file, 0)).toBe(65536)
    expect(await nextData(file, 65536)).toBe(131072)
    expect(await nextHole(file, 131072)).toBe(MEBIBYTE)
    await truncate(file.path, 2 * MEBIBYTE)
    expect(await nextData(file, MEBIBYTE)).toBeNull()
    expect(await nextHole(file, 4 * MEBIBYTE)).toBeNull()
  })

  it('knows the file system', async () => {
    expect(await fileSystemMagic(file)).toBeGreaterThan(0)
  })

  it('fails with a Node-like error that names call and object', async () => {
    const closed = { fd: 1_000_000, path: '/some/file' }
    expect(() => readCached(closed, 0, Buffer.alloc(512), 0, 512)).toThrow(/EBADF.*preadv2 '\/some\/file'/)
    await expect(writeDurably(closed, 0, Buffer.alloc(512))).rejects.toMatchObject({
      code: 'EBADF',
      syscall: 'pwritev2',
    })
    await expect(fallocate(closed, 0, 0, 1)).rejects.toMatchObject({ code: 'EBADF', errno: -9 })
    await expect(advise(closed, ADVICE.random)).rejects.toMatchObject({ code: 'EBADF' })
    await expect(syncFileRange(closed, 0, 1)).rejects.toMatchObject({ code: 'EBADF' })
  })
})

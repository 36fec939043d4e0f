import { mkdtempSync, rmSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isRangeLocked, lockRange, unlockRange, type OpenFile } from '../../../../src/base/system-calls.js'

describe('range locks', () => {
  let directory: string
  let handles: FileHandle[]

  const openAgain = async (): Promise<OpenFile> => {
    const path = join(directory, 'file')
    const handle = await open(path, 'a+')
    handles.push(handle)
    return { fd: handle.fd, path }
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vmcache-lock-'))
    handles = []
  })

  afterEach(async () => {
    await Promise.all(handles.map((handle) => handle.close().catch(() => undefined)))
    rmSync(directory, { recursive: true })
  })

  it('keeps other open files out, in the same process too, until they are unlocked', async () => {
    const [mine, other] = [await openAgain(), await openAgain()]
    expect(await lockRange(mine, 'exclusive', 100, 1)).toBe(true)
    expect(await lockRange(mine, 'exclusive', 100, 1)).toBe(true)
    expect(await lockRange(other, 'shared', 100, 1)).toBe(false)
    expect(await isRangeLocked(other, 'shared', 100, 1)).toBe(true)
    expect(await isRangeLocked(mine, 'exclusive', 100, 1)).toBe(false)
    expect(await lockRange(other, 'exclusive', 101, 1)).toBe(true)
    await unlockRange(mine, 100, 1)
    expect(await lockRange(other, 'exclusive', 100, 1)).toBe(true)
  })

  it('lets several share a range', async () => {
    const [mine, other] = [await openAgain(), await openAgain()]
    expect(await lockRange(mine, 'shared', 0, 0)).toBe(true)
    expect(await lockRange(other, 'shared', 0, 0)).toBe(true)
    expect(await lockRange(other, 'exclusive', 0, 0)).toBe(false)
    expect(await isRangeLocked(other, 'shared', 0, 0)).toBe(false)
  })

  it('ends with the descriptor, and not with another of the same file', async () => {
    const [mine, other] = [await openAgain(), await openAgain()]
    await lockRange(mine, 'exclusive', 2 ** 52, 1)
    await (await open(mine.path)).close()
    expect(await lockRange(other, 'exclusive', 2 ** 52, 1)).toBe(false)
    await handles[0]!.close()
    expect(await lockRange(other, 'exclusive', 2 ** 52, 1)).toBe(true)
  })

  it('fails with an error on a closed descriptor', async () => {
    await expect(lockRange({ fd: 1_000_000, path: '/x' }, 'shared', 0, 1)).rejects.toMatchObject({ code: 'EBADF' })
  })
})

import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { acceptOne } from '../../../../src/engine/checkpoint/checkpoint-socket.js'

const NEVER = new AbortController().signal
let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-socket-'))
  path = join(directory, 's')
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test('one connection is taken, and no second one', async () => {
  const socket = await acceptOne(path, () => void connect(path).resume(), NEVER)
  expect(existsSync(path)).toBe(false)
  await expect(once(connect(path), 'connect')).rejects.toMatchObject({ code: 'ENOENT' })
  socket.destroy()
})

test('what is in the way stays there: IN_USE', async () => {
  writeFileSync(path, '')
  await expect(acceptOne(path, () => undefined, NEVER)).rejects.toMatchObject({ code: 'IN_USE' })
  expect(existsSync(path)).toBe(true)
})

test('where nobody can listen it says so', async () => {
  const nowhere = join(directory, 'no', 'such', 'directory')
  await expect(acceptOne(nowhere, () => undefined, NEVER)).rejects.toMatchObject({
    code: 'FAILED',
    message: expect.stringContaining(nowhere),
  })
})

test('whoever is told that it listens may fail', async () => {
  const failing = acceptOne(path, () => expect.fail('no VM'), NEVER)
  await expect(failing).rejects.toThrow('no VM')
  expect(existsSync(path)).toBe(false)
})

test('cancelled, it listens no more, whenever that is', async () => {
  for (const when of ['before', 'then']) {
    const abort = new AbortController()
    if (when === 'before') abort.abort()
    const ready = (): void => abort.abort()
    await expect(acceptOne(path, ready, abort.signal)).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(existsSync(path)).toBe(false)
  }
})

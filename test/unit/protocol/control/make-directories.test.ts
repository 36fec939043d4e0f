import { existsSync, statSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeDirectories } from '../../../../src/protocol/control/make-directories.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-directories-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('makes what is missing, and says whether it did', () => {
  const path = join(directory, 'a', 'b')
  expect(makeDirectories(path, 0o700)).toBe(true)
  expect(statSync(path).mode & 0o777).toBe(0o700)
  expect(makeDirectories(path)).toBe(false)
})

test('ends where none can be made', async () => {
  expect(() => makeDirectories('/proc/a/b')).toThrow(/ENOENT/)
  await writeFile(join(directory, 'file'), '')
  expect(() => makeDirectories(join(directory, 'file', 'a'))).toThrow(/ENOTDIR/)
  expect(existsSync(join(directory, 'file', 'a'))).toBe(false)
})

import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SeededRandom } from '../../../src/base/random.js'
import { hostId } from '../../../src/daemon/host-id.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-host-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('is made once and stays', async () => {
  const id = await hostId(directory, new SeededRandom(1))
  expect(id).toMatch(/^[0-9a-f]{32}$/)
  expect(await hostId(directory, new SeededRandom(2))).toBe(id)
  expect(await readdir(directory)).toEqual(['host-id'])
})

test.each(['', 'not an id', 'ABCDEF'.repeat(6)])('a file with %j is not replaced by a new identity', async (text) => {
  await writeFile(join(directory, 'host-id'), text)
  await expect(hostId(directory, new SeededRandom(1))).rejects.toMatchObject({ code: 'CORRUPT' })
})

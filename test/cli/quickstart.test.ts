/** bin/quickstart from its first line to its last, with the client that needs no foreign program. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { run } from '../support/processes.js'
import { ROOT } from '../support/vmcache.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-quickstart-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const quickstart = (...args: string[]) =>
  run(join(ROOT, 'bin', 'quickstart'), args, { env: { TMPDIR: directory }, timeoutMilliseconds: 240_000 })

/** The cells of the table's row that begins with `name`. */
function row(output: string, name: string): readonly string[] {
  const line = output.split('\n').findLast((text) => text.startsWith(`${name}  `))
  return (
    line
      ?.slice(name.length)
      .trim()
      .split(/\s{2,}/) ?? []
  )
}

test(
  'it shows a cache that is cold, warm, killed and still warm, and leaves nothing',
  { timeout: 250_000 },
  async () => {
    const { code, stdout, stderr } = await quickstart('--no-guest')
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/wrote \d+ records, each synced, and saw no error; 0 of them are lost/)
    for (const name of ['through vmcache, warm', 'after kill -9 and restart']) {
      const [, , , , hitRatio] = row(stdout, name)
      expect(Number.parseFloat(hitRatio!), `${name}: ${hitRatio}`).toBeGreaterThan(99)
    }
    expect(readdirSync(directory)).toEqual([])
  },
)

test('a wrong flag is named, with those that there are', async () => {
  expect(await quickstart('--fast')).toEqual({
    code: 1,
    stdout: '',
    stderr: 'bin/quickstart: unknown: --fast (bin/quickstart takes --keep, --no-guest)\n',
  })
})

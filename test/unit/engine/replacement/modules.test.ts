import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { REPLACEMENT_MODULES, loadReplacement } from '../../../../src/engine/replacement/modules.js'
import { DEFAULT_DISK_SETTINGS } from '../../../../src/model/policy.js'
import { replacementContract } from '../../../contract/replacement.js'

const directory = mkdtempSync(join(tmpdir(), 'vmcache-replacement-'))
afterAll(() => rmSync(directory, { recursive: true }))

function moduleFile(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

/** A third party's policy: keeps random pages. */
const THIRD_PARTY = `
const exact = (capacity) => {
  const keys = new Set()
  return {
    access(key) {
      if (keys.has(key)) return true
      if (keys.size === capacity) keys.delete(keys.values().next().value)
      keys.add(key)
      return false
    },
    remove: (key) => void keys.delete(key),
    get size() { return keys.size },
  }
}
const laid = () => ({ inserted: () => 0, hit: () => 7, reclaimed: (page, heat) => heat > 0 && page % 3 === 0 ? 0 : -1, resized() {} })
export default { name: 'thirds', summary: 'keeps a third of what was used', exact, laid }
`

for (const module of REPLACEMENT_MODULES) replacementContract(module)
replacementContract(await loadReplacement(moduleFile('thirds.mjs', THIRD_PARTY)))

describe('loadReplacement', () => {
  it.each(['fifo', 'lru', 'clock', 'arc', 's3-fifo', 'sieve'])('knows %s', async (name) => {
    expect((await loadReplacement(name)).name).toBe(name)
  })

  it('has the policy that is the default of disks, and a summary of one line for each', () => {
    expect(REPLACEMENT_MODULES.map(({ name }) => name)).toContain(DEFAULT_DISK_SETTINGS.replacement)
    for (const { summary } of REPLACEMENT_MODULES) expect(summary).toMatch(/^[^\n]{10,90}$/)
  })

  it.each(['', 'LRU', 'lfu', './thirds.mjs', 'fs', 'constructor'])(
    'refuses %j and names what there is',
    async (name) => {
      await expect(loadReplacement(name)).rejects.toMatchObject({
        code: 'BAD_CONFIG',
        exit: 2,
        message: `replacement ${JSON.stringify(name)} is not known`,
        hint: 'use s3-fifo, arc, clock, fifo, lru, sieve, or the absolute path of a module',
      })
    },
  )

  const bad: [string, string, RegExp][] = [
    ['syntax.mjs', 'export default {', /cannot be loaded: /],
    ['throws.mjs', 'throw new Error("first\\nsecond")', /cannot be loaded: first second$/],
    ['nothing.mjs', 'export const policy = {}', /its default export is undefined, expected an object$/],
    ['null.mjs', 'export default null', /its default export is null, expected an object$/],
    ['part.mjs', 'export default { name: "x", summary: "", exact: 3 }', /exact is number, expected function$/],
    ['taken.mjs', THIRD_PARTY.replace("'thirds'", "'lru'"), /its name "lru" is taken$/],
    [
      'heat.mjs',
      THIRD_PARTY.replace('hit: () => 7', 'hit: () => 256'),
      /hit\(\) gave 256, expected a whole number from 0 to 255$/,
    ],
    ['part2.mjs', THIRD_PARTY.replace('resized() {}', ''), /laid\(\) has no resized\(\)$/],
    ['kept.mjs', THIRD_PARTY.replace('? 0 : -1', '? 0 : -2'), /reclaimed\(\) gave -2, expected -1 or/],
    ['full.mjs', THIRD_PARTY.replace('keys.delete(keys.values().next().value)', ';'), /exact\(64\) holds 128 keys$/],
    ['late.mjs', THIRD_PARTY.replace('inserted: () => 0', 'inserted() { throw new Error("no") }'), /it threw: no$/],
  ]
  it.each(bad)('refuses %s', async (name, text, message) => {
    const path = moduleFile(name, text)
    const error = (await loadReplacement(path).catch((error: unknown) => error)) as Error
    expect(error).toMatchObject({ code: 'BAD_CONFIG' })
    expect(error.message).toContain(path)
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('\n')
  })

  it('names a file that is not there', async () => {
    await expect(loadReplacement('/nowhere/policy.mjs')).rejects.toThrow(
      'replacement module /nowhere/policy.mjs cannot be loaded',
    )
  })
})

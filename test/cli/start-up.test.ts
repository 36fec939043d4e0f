/** Start-up is felt on every call: what it loads. (How long it takes is the benchmark's matter.) */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../support/processes.js'
import { fast, stats } from '../support/sample-documents.js'
import { VMCACHE, commandLineTest, type CommandLineTest } from '../support/vmcache.js'

const HEAVY = [
  '@inquirer',
  'ora',
  'cli-table3',
  'chalk',
  'execa',
  'zod',
  'yaml',
  'koffi',
  'pino',
  'kysely',
  'libsql',
  'pg',
]

let cli: CommandLineTest
beforeAll(async () => {
  cli = await commandLineTest({ 'cache.list': { caches: [fast] }, 'stats.show': stats })
  writeFileSync(
    join(cli.directory, 'hooks.mjs'),
    `import { appendFileSync } from 'node:fs'
export async function load(url, context, next) {
  appendFileSync(process.env.LOADED, url + '\\n')
  return next(url, context)
}
`,
  )
  writeFileSync(
    join(cli.directory, 'register.mjs'),
    `import { register } from 'node:module'\nregister('./hooks.mjs', import.meta.url)\n`,
  )
})
afterAll(() => cli.stop())

/** Packages that a command line loads. */
async function loaded(...args: string[]): Promise<string[]> {
  const list = join(cli.directory, `loaded-${args.length}`)
  const register = join(cli.directory, 'register.mjs')
  await must(process.execPath, ['--import', register, VMCACHE, ...args], { env: { ...cli.environment, LOADED: list } })
  const urls = readFileSync(list, 'utf8')
  expect(urls).toContain('dist/commands/cache/list.js')
  return HEAVY.filter((name) => urls.includes(`/node_modules/${name}/`))
}

test('a list in JSON loads no package but oclif', async () => {
  expect(await loaded('cache', 'list', '--json')).toEqual([])
})

test('a list in a pipe loads tables, and no colours', async () => {
  expect(await loaded('cache', 'list')).toEqual(['cli-table3'])
})

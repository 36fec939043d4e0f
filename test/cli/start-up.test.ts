/** Start-up is felt on every call: what it loads. (How long it takes is the benchmark's matter.) */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must, run } from '../support/processes.js'
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
/** Files that a list may load; one per module were more than a hundred. */
const FILES = 12

let cli: CommandLineTest
beforeAll(async () => {
  cli = await commandLineTest({
    'cache.list': { caches: [fast] },
    'stats.show': stats,
    'disk.list': { disks: null as never },
  })
  writeFileSync(
    join(cli.directory, 'hooks.mjs'),
    `import { appendFileSync } from 'node:fs'
export async function load(url, context, next) {
  if (url.startsWith('file:')) appendFileSync(process.env.LOADED, url + '\\n')
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

/** Files that a command line loads. */
async function loaded(...args: string[]): Promise<string[]> {
  const list = join(cli.directory, `loaded-${args.length}`)
  const register = join(cli.directory, 'register.mjs')
  await must(process.execPath, ['--import', register, VMCACHE, ...args], { env: { ...cli.environment, LOADED: list } })
  return readFileSync(list, 'utf8').trim().split('\n')
}

/** The heavy packages among files, and among the modules that were bundled into them. */
function heavy(urls: readonly string[]): string[] {
  const modules = urls.flatMap((url) => {
    const map = `${fileURLToPath(url)}.map`
    return existsSync(map) ? (JSON.parse(readFileSync(map, 'utf8')) as { sources: string[] }).sources : [url]
  })
  expect(modules.filter((module) => module.endsWith('/src/commands/cache/list.ts'))).toHaveLength(1)
  expect(modules.filter((module) => module.includes('/node_modules/@oclif/core/'))).not.toHaveLength(0)
  return HEAVY.filter((name) => modules.some((module) => module.includes(`/node_modules/${name}/`)))
}

test('a list in JSON loads a few files, and no package but oclif', async () => {
  const urls = await loaded('cache', 'list', '--json')
  expect(heavy(urls)).toEqual([])
  expect(urls.length).toBeLessThanOrEqual(FILES)
})

test('a list in a pipe loads tables, and no colours', async () => {
  expect(heavy(await loaded('cache', 'list'))).toEqual(['cli-table3'])
})

test('a bug shows where it is in the source', async () => {
  const environment = { ...cli.environment, VMCACHE_DEBUG: '1' }
  const { stderr } = await run(VMCACHE, ['disk', 'list'], { env: environment, cwd: cli.directory })
  expect(stderr).toMatch(/src\/commands\/disk\/list\.ts:\d+:\d+/)
})

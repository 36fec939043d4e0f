/** Random command lines, from right to absurd: always one JSON document, a code of the table, and never a crash or a hang. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ERROR_CODES, EXIT, VmcacheError } from '../../src/base/errors.js'
import { SeededRandom } from '../../src/base/random.js'
import { READS } from '../../src/protocol/control/routes.js'
import { engine } from '../support/sample-documents.js'
import { commandLineTest, type CommandLineTest } from '../support/vmcache.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/fuzz/command-line.test.ts`
const LINES = Number(process.env['FUZZ_RUNS'] ?? 40)

/** Nothing here starts an engine of its own or touches this machine. */
const WORDS = [
  ...['cache', 'disk', 'job', 'event', 'config', 'device', 'stats', 'policy', 'status', 'doctor', 'help', 'frobnicate'],
  ...[
    'create',
    'list',
    'show',
    'delete',
    'attach',
    'detach',
    'import',
    'flush',
    'invalidate',
    'set',
    'export',
    'check',
  ],
  ...[
    '--all',
    '--exclude',
    '--device',
    '--min',
    '--max',
    '--shares',
    '--mode',
    '--disk',
    '--window',
    '--latency',
    '--',
  ],
  ...[
    '--yes',
    '--dry-run',
    '--no-wait',
    '--timeout',
    '--host',
    '--quiet',
    '--no-color',
    '--since',
    '--force',
    '--help',
  ],
  ...[
    'fast',
    'web01/vda',
    '*',
    '',
    ' ',
    '-',
    '-x',
    '--=',
    '--mode=',
    '10g',
    '1e9',
    '-1',
    '20%',
    '5m',
    '3s',
    'write-around',
  ],
  ...['a:b', 'cache:list', '\u0000'.slice(1), '\n', "'", '"', '$(id)', '../..', 'nbd://', '٣', '🙂', 'x'.repeat(5000)],
]

const COMMANDS = [
  ...['create', 'list', 'show', 'delete', 'attach', 'detach', 'import'].map((verb) => ['cache', verb]),
  ...['list', 'show', 'flush', 'invalidate'].map((verb) => ['disk', verb]),
  ...['list', 'show', 'cancel'].map((verb) => ['job', verb]),
  ...['list', 'show', 'define', 'adopt', 'release', 'start', 'stop', 'delete'].map((verb) => ['vm', verb]),
  ...[
    ['policy', 'set'],
    ['policy', 'show'],
    ['policy', 'list'],
    ['policy', 'unset'],
    ['stats'],
    ['stats', 'export'],
    ['event', 'list'],
    ['config', 'show'],
    ['status'],
  ],
]

let cli: CommandLineTest
beforeAll(async () => {
  const refused = new VmcacheError('REFUSED', 'not here')
  cli = await commandLineTest({
    ...Object.fromEntries(READS.map((operation) => [operation, refused])),
    'engine.status': engine,
  })
})
afterAll(() => cli.stop())

test(`${LINES} command lines, seed ${seed}`, { timeout: 300_000 }, async () => {
  const random = new SeededRandom(seed)
  const words = (length: number) => Array.from({ length }, () => WORDS[random.below(WORDS.length)]!)
  const lines = Array.from({ length: LINES }, (_, index) =>
    index % 3 === 0 ? words(random.below(7)) : [...COMMANDS[random.below(COMMANDS.length)]!, ...words(random.below(6))],
  )
  const codes = new Set<number>(Object.values(EXIT))
  for (const line of lines) {
    const outcome = await cli.run(...line.slice(0, 2), '--json', ...line.slice(2))
    const shown = `${JSON.stringify(line)}: ${JSON.stringify(outcome)}\n${repeat}`
    expect(codes.has(outcome.code ?? -1), shown).toBe(true)
    if (line.includes('--help') || line.includes('help')) continue
    if (line.slice(0, 2).includes('--')) continue
    const document = documentOf(outcome.stdout)
    if (document === undefined) expect.fail(`no document of ${shown}`)
    if (outcome.code === 0) continue
    expect(document.error?.exit, shown).toBe(outcome.code)
    expect(Object.keys(ERROR_CODES), shown).toContain(document.error?.code)
    expect(document.error?.code, shown).not.toBe('INTERNAL')
    expect(document.error?.message, shown).not.toMatch(/\n/)
  }
})

interface PrintedDocument {
  readonly error?: { readonly code: string; readonly exit: number; readonly message: string }
}

function documentOf(text: string): PrintedDocument | undefined {
  try {
    return JSON.parse(text) as PrintedDocument
  } catch {
    return undefined
  }
}

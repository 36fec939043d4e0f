/**
 * The rules of the repository, as data. Each table below is a rule; the tests at the end hold the tree to it and name the
 * file and what to do instead.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..', '..')

/** Layers, from the top down: a folder imports only from itself and from folders below it. */
const LAYERS = [
  'commands',
  'cli',
  'daemon',
  'operations',
  'hypervisor',
  'state',
  'trace',
  'engine',
  'protocol',
  'format',
  'model',
  'base',
]

/** The command line sees the engine only through these; what works without one stands below, with the reason. */
const SEEN_BY_COMMAND_LINE = ['commands/', 'cli/', 'protocol/control/', 'model/', 'base/']
const SEEN_WITHOUT_ENGINE: Readonly<Record<string, string>> = {
  'daemon/load-configuration.ts': 'both sides find the directories in the same way',
  'daemon/install.ts': '`engine install` lays down what starts the engine',
  'daemon/service-files.ts': '`engine start` asks systemd where its unit is laid down',
  'daemon/recover-offline.ts': '`cache recover` writes to origins while no engine runs',
  'engine/check/check-cache.ts': '`cache check` reads devices that no engine has open',
  'format/superblock.ts': 'vmcache-format(5) is made of its field tables',
  'format/chunk-header.ts': 'vmcache-format(5) is made of its field tables',
  'format/frame.ts': 'vmcache-format(5) is made of its field tables',
  'format/object-header.ts': 'vmcache-format(5) is made of its field tables',
  'format/structure.ts': 'vmcache-format(5) is made of its field tables',
  'format/summary.ts': 'vmcache-format(5) is made of its field tables',
}

/** Modules that start something of their own: a process, a thread, a command that oclif finds, a simulation of the benches. */
const ENTRIES = [
  /^trace\/simulate-/,
  /^commands\//,
  /^cli\/hooks\//,
  /\/main\.ts$/,
  /\/entry\.ts$/,
  /-(main|entry)\.ts$/,
]

interface BannedCall {
  /** Matches the text of what is called. */
  readonly call: RegExp
  readonly instead: string
  /** Files of src/ that may. */
  readonly except: readonly RegExp[]
}

const BANNED_CALLS: readonly BannedCall[] = [
  {
    call: /^(Date\.now|process\.hrtime(\.bigint)?)$/,
    instead: 'a Clock that was passed in (base/clock.ts)',
    except: [/^base\//],
  },
  {
    call: /^performance\.now$/,
    instead: 'a Clock that was passed in (base/clock.ts): an engine runs on simulated time too',
    except: [/^base\//, /^(cli|commands)\//, /^protocol\/control\//],
  },
  {
    call: /^(Math\.random|crypto\.random\w+|random(Bytes|UUID|Int))$/,
    instead: 'a Random that was passed in (base/random.ts)',
    except: [/^base\//],
  },
  {
    call: /^console\./,
    instead: 'the logger in an engine, the base command on the command line',
    except: [],
  },
  {
    call: /^process\.exit$/,
    instead: 'an error or process.exitCode: whoever owns the process ends it',
    except: [...ENTRIES, /^cli\/interruption\.ts$/, /^daemon\/log-crashes\.ts$/],
  },
  {
    call: /(^|\.)(fsync|fdatasync)(Sync)?$/,
    instead: "the device's own commit: a sync of a cache file syncs every disk's data",
    except: [/^engine\/device\//, /^engine\/origin\//, /^base\//],
  },
  {
    call: /(^|\.)(readFile|writeFile|appendFile|readdir|stat|lstat|exists|mkdir|rm|rename|open|read|write|close)Sync$/,
    instead: 'the asynchronous call: a synchronous one stops every disk of the thread',
    except: [],
  },
]

/** Files of src/ that may call the file system synchronously, with the reason. */
const SYNCHRONOUS: readonly (readonly [RegExp, string])[] = [
  [/^(cli|commands)\//, 'a short-lived process that does one thing'],
  [/^protocol\/control\//, 'small files of RUN-DIR, read by the command line'],
  [
    /^daemon\//,
    'small files of RUN-DIR and STATE-DIR, in the supervisor and the main thread: disks have their own threads',
  ],
  [/^base\/system\//, 'files of the kernel, once'],
  [/^engine\/device\//, 'a write into the page cache is over sooner than a trip through the thread pool'],
]

/** Text that must not stay behind, in src/, test/, bin/ and the pages. */
const BANNED_TEXT: readonly { readonly text: RegExp; readonly instead: string }[] = [
  { text: /\b(TODO|FIXME|XXX|HACK)\b/, instead: 'do it, or leave it out' },
  { text: /\b(test|it|describe)\.only\(/, instead: 'run one file by its name' },
  { text: /(?<![\w.$}])\/(home|root|work|workspace|Users)\//, instead: 'a path below os.tmpdir() or the repository' },
  { text: /registry\.npmjs\.org|deb\.debian\.org/, instead: "the user's own settings of npm and apt" },
]

/** What the top level holds; nothing else. */
const TOP_LEVEL = [
  '.ci',
  '.gitignore',
  '.npmrc',
  '.prettierignore',
  '.prettierrc.json',
  'LICENSE',
  'README.md',
  'bin',
  'completions',
  'eslint.config.js',
  'knip.json',
  'man',
  'package-lock.json',
  'package.json',
  'src',
  'test',
  'tsconfig.json',
  'vitest.config.ts',
]

// ---------------------------------------------------------------------------------------------------------------------

interface Import {
  /** Path below src/. */
  readonly target: string
  /** `start`: the file is run by another process or thread, as `new URL('./entry.js', import.meta.url)` says. */
  readonly kind: 'value' | 'type' | 'start'
}

interface Module {
  /** Path below src/. */
  readonly path: string
  readonly text: string
  readonly imports: readonly Import[]
  readonly calls: readonly string[]
}

const IGNORED = ignoredNames()
const files = repositoryFiles()
const modules = files.filter((file) => /^src\/.*\.ts$/.test(file)).map((file) => parse(file.slice('src/'.length)))

test('the top level holds what the README says, and what tools insist on', () => {
  expect([...new Set(files.map((file) => file.split('/')[0]!))].filter((name) => !TOP_LEVEL.includes(name))).toEqual([])
})

test('a folder of src imports only from folders below it', () => {
  const upward = imports((from, to) => LAYERS.indexOf(layerOf(to)) < LAYERS.indexOf(layerOf(from)))
  expect(upward).toEqual([])
})

test('every folder of src is a layer', () => {
  expect(modules.map(({ path }) => layerOf(path)).filter((layer) => !LAYERS.includes(layer))).toEqual([])
})

test('the command line sees the engine only through the control protocol', () => {
  const forbidden = imports(
    (from, to) =>
      ['commands', 'cli'].includes(layerOf(from)) &&
      !SEEN_BY_COMMAND_LINE.some((seen) => to.startsWith(seen)) &&
      !(to in SEEN_WITHOUT_ENGINE),
  )
  expect(forbidden).toEqual([])
})

test('files do not import each other in circles', () => {
  const graph = new Map(
    modules.map(({ path, imports }) => [
      path,
      imports.filter(({ kind }) => kind === 'value').map(({ target }) => target),
    ]),
  )
  expect(cycles(graph)).toEqual([])
})

test('folders do not import each other in circles', () => {
  const graph = new Map<string, string[]>()
  for (const { path, imports } of modules) {
    const values = imports.filter(({ kind }) => kind === 'value').map(({ target }) => dirname(target))
    graph.set(dirname(path), [...(graph.get(dirname(path)) ?? []), ...values.filter((to) => to !== dirname(path))])
  }
  expect(cycles(graph)).toEqual([])
})

test('no file calls what is banned', () => {
  const found = modules.flatMap(({ path, calls }) =>
    BANNED_CALLS.flatMap(({ call, instead, except }) =>
      except.some((pattern) => pattern.test(path)) ||
      (call.source.endsWith('Sync$') && SYNCHRONOUS.some(([pattern]) => pattern.test(path)))
        ? []
        : calls.filter((text) => call.test(text)).map((text) => `${path}: ${text}: use ${instead}`),
    ),
  )
  expect(found).toEqual([])
})

test('every exception from a rule is used', () => {
  const needless = Object.keys(SEEN_WITHOUT_ENGINE).filter(
    (seen) => imports((from, to) => to === seen && ['commands', 'cli'].includes(layerOf(from))).length === 0,
  )
  expect(needless).toEqual([])
  const unused = SYNCHRONOUS.filter(
    ([pattern]) =>
      !modules.some(({ path, calls }) => pattern.test(path) && calls.some((call) => call.endsWith('Sync'))),
  )
  expect(unused).toEqual([])
})

test('every file of src is used by another, or is where something starts', () => {
  const used = new Set(modules.flatMap(({ imports }) => imports.map(({ target }) => target)))
  const dead = modules.filter(({ path }) => !used.has(path) && !ENTRIES.some((entry) => entry.test(path)))
  expect(dead.map(({ path }) => path)).toEqual([])
})

test('every folder of src says what lives there, at the head of a file', () => {
  const folders = [...new Set(modules.map(({ path }) => dirname(path)))].filter((folder) => !/^commands\//.test(folder))
  const silent = folders.filter(
    (folder) => !modules.some(({ path, text }) => dirname(path) === folder && headOf(text).includes(`${folder}/: `)),
  )
  expect(silent).toEqual([])
})

test('nothing stays behind that does not belong into a repository', () => {
  const here = 'test/unit/repository.test.ts'
  const found = files
    .filter((file) => /^(src|test|bin|\.ci|man|completions|README)/.test(file) && file !== here)
    .flatMap((file) =>
      readFileSync(join(root, file), 'utf8')
        .split('\n')
        .flatMap((line, index) =>
          BANNED_TEXT.filter(({ text }) => text.test(line)).map(({ instead }) => `${file}:${index + 1}: ${instead}`),
        ),
    )
  expect(found).toEqual([])
})

test('the lock file names no registry', () => {
  expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toMatch(/"resolved":/)
})

// ---------------------------------------------------------------------------------------------------------------------

/** Paths of the repository's files: everything but what .gitignore names. Git itself need not be installed. */
function repositoryFiles(directory = ''): string[] {
  return readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    if (IGNORED.some((pattern) => pattern.test(entry.name))) return []
    const path = join(directory, entry.name)
    return entry.isDirectory() ? repositoryFiles(path) : [path]
  })
}

/** The lines of .gitignore, each of which is the name of files or folders, at most with a `*` in it. */
function ignoredNames(): RegExp[] {
  const lines = readFileSync(join(root, '.gitignore'), 'utf8').split('\n')
  const names = ['.git', ...lines.filter((line) => line !== '').map((line) => line.replace(/^\/|\/$/g, ''))]
  return names.map((name) => new RegExp(`^${name.replaceAll('.', '\\.').replaceAll('*', '.*')}$`))
}

function parse(path: string): Module {
  const text = readFileSync(join(root, 'src', path), 'utf8')
  const imports: Import[] = []
  const calls: string[] = []
  const add = (specifier: ts.Node | undefined, kind: Import['kind']): void => {
    if (specifier === undefined || !ts.isStringLiteral(specifier) || !specifier.text.startsWith('.')) return
    const target = normalize(join(dirname(path), specifier.text)).replace(/\.js$/, '.ts')
    imports.push({ target, kind })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node))
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'value')
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'value')
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, 'type')
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0], 'value')
    else if (ts.isCallExpression(node)) calls.push(node.expression.getText())
    else if (ts.isNewExpression(node) && node.expression.getText() === 'URL') add(node.arguments?.[0], 'start')
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true))
  return { path, text, imports, calls }
}

function layerOf(path: string): string {
  return path.split('/')[0]!
}

/** Every import of src/ for which `fits` holds, as `from -> to`. */
function imports(fits: (from: string, to: string) => boolean): string[] {
  return modules.flatMap(({ path, imports }) =>
    imports
      .filter(({ target, kind }) => kind !== 'start' && fits(path, target))
      .map(({ target }) => `${path} -> ${target}`),
  )
}

/** One path for each circle that a depth-first walk meets. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const walk = (node: string, trail: readonly string[]): void => {
    if (trail.includes(node)) found.push([...trail.slice(trail.indexOf(node)), node].join(' -> '))
    else if (!done.has(node)) {
      for (const next of graph.get(node) ?? []) walk(next, [...trail, node])
      done.add(node)
    }
  }
  for (const node of graph.keys()) walk(node, [])
  return found
}

/** The comment at the head of a file. */
function headOf(text: string): string {
  return /^(?:#!.*\n)?\s*\/\*\*([\s\S]*?)\*\//.exec(text)?.[1] ?? ''
}

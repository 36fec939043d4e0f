/**
 * What the bundler makes of src/: dist/bundle/, which is what runs. Most of a start was finding and compiling hundreds of
 * small files, and a start is felt in every command and in the pause of an engine that is replaced. Beside it dist/ has
 * one file per module, for tests and tools.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'rolldown'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, 'src')

/** Each folder is a bundle of its own: file in it, and the module of src/ that it starts with. */
const BUNDLES = {
  'command-line': { main: 'cli/main', help: 'cli/help', ...commands() },
  daemon: { supervisor: 'daemon/main', engine: 'daemon/engine-main', 'io-thread': 'engine/worker/io-thread' },
}

/** Where the bundle of a module is, below dist/bundle/. */
const PLACES = new Map(
  Object.entries(BUNDLES).flatMap(([folder, starts]) =>
    Object.entries(starts).map(([file, module]) => [`${module}.js`, join(folder, `${file}.js`)]),
  ),
)

/** What every command needs is one file: oclif with all that it loads, and ours. */
const SHARED = { name: 'shared', test: /\/src\/cli\/(main|base-command)\.ts$|\/node_modules\/wsl-utils\// }

/** Packages of many files that every start loads. The others are native, or are imported where they are needed. */
const BUNDLED = ['@oclif/core', 'kysely', 'zod']
const { dependencies, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const outside = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => !BUNDLED.includes(name))

export default defineConfig(
  Object.entries(BUNDLES).map(([folder, starts]) => ({
    cwd: root,
    platform: 'node',
    input: Object.fromEntries(Object.entries(starts).map(([file, module]) => [file, join(source, `${module}.ts`)])),
    external: (id) => outside.some((name) => id === name || id.startsWith(`${name}/`)),
    plugins: [addresses(folder)],
    output: {
      dir: join(root, 'dist', 'bundle', folder),
      cleanDir: true,
      sourcemap: true,
      entryFileNames: '[name].js',
      chunkFileNames: '[name].js',
      codeSplitting: { groups: [SHARED] },
    },
  })),
)

/** oclif finds a command by its path. */
function commands() {
  const paths = readdirSync(join(source, 'commands'), { recursive: true }).filter((path) => path.endsWith('.ts'))
  return Object.fromEntries(
    paths
      .sort()
      .map((path) => `commands/${path.slice(0, -'.ts'.length)}`)
      .map((id) => [id, id]),
  )
}

/**
 * A bundled module is not where its source says: `new URL('./other.js', import.meta.url)` means the bundle that starts with
 * the other module, and any other place is seen from where the compiler puts this one in dist/.
 */
function addresses(folder) {
  return {
    name: 'addresses',
    transform(code, id) {
      if (!id.startsWith(source) || !code.includes('import.meta.url')) return null
      const from = dirname(relative(source, id))
      const replaced = code.replaceAll(/(?<=new URL\(')[^']+(?=', import\.meta\.url)/g, (target) => {
        const place = PLACES.get(join(from, target))
        if (place === undefined && target.endsWith('.js'))
          throw new Error(`${id}: ${target} is started and not in BUNDLES`)
        return place === undefined ? join('../..', from, target) : relative(folder, place)
      })
      // Lines stay where they are.
      return { code: replaced, map: null }
    },
    renderChunk(code, { fileName }) {
      if (!fileName.includes('/') || !code.includes('import.meta.url')) return null
      throw new Error(`${fileName}: a module with an address has to be bundled into ${folder}/ itself`)
    },
  }
}

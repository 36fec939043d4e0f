#!/usr/bin/env node
/**
 * Builds dist/ and oclif.manifest.json from src/, when something in src/ is newer than the last build: dist/bundle/ is
 * what runs, the rest one file per module. Needs only Node.js and node_modules. `--force` builds in any case.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Written after a complete build; its time is compared with the sources'. */
const stamp = join(root, 'dist', '.built')
const inputs = ['package.json', 'package-lock.json', 'tsconfig.json', 'bin/rolldown.config.mjs', 'src'].map((name) =>
  join(root, name),
)

/** Builds what is stale; returns whether anything was built. Throws with the compiler's words on failure. */
export function build({ force = false } = {}) {
  if (!force && existsSync(stamp) && newest(inputs) <= statSync(stamp).mtimeMs) return false
  const startedAt = new Date()
  run(join(root, 'node_modules', '.bin', 'rolldown'), ['--config', join(root, 'bin', 'rolldown.config.mjs')])
  run(join(root, 'node_modules', '.bin', 'oclif'), ['manifest', root])
  run(join(root, 'node_modules', '.bin', 'tsc'), ['-p', join(root, 'tsconfig.json')])
  prune(join(root, 'dist'))
  writeFileSync(stamp, startedAt.toISOString() + '\n')
  return true
}

/** Compiles a further TypeScript project of the repository; the compiler itself skips what has not changed. */
export function buildProject(project) {
  run(join(root, 'node_modules', '.bin', 'tsc'), ['-p', join(root, project)])
}

/** The latest modification below `paths`; a directory counts too, so that a deleted file is noticed. */
function newest(paths) {
  let latest = 0
  for (const path of paths) {
    const status = statSync(path)
    latest = Math.max(latest, status.mtimeMs)
    if (status.isDirectory()) latest = Math.max(latest, newest(readdirSync(path).map((name) => join(path, name))))
  }
  return latest
}

/** Removes output of the compiler whose source is gone. Hidden folders are others', and bundles begin anew each time. */
function prune(directory) {
  for (const name of readdirSync(directory, { recursive: true })) {
    const path = join(directory, name)
    const source = path.match(/^(.*)\.js(\.map)?$/)
    if (source === null || name.startsWith('.') || name.startsWith('bundle/')) continue
    if (!existsSync(join(root, 'src', relative(directory, source[1]) + '.ts'))) rmSync(path)
  }
}

function run(program, args) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    // The compiler would keep compiled code of its own in /tmp.
    env: { ...process.env, OCLIF_DISABLE_UPDATE_NOTIFIER: '1', NO_COLOR: '1', NODE_DISABLE_COMPILE_CACHE: '1' },
  })
  if (status === 0) return
  throw new Error(`${relative(root, program)} ${args.join(' ')} failed\n${error?.message ?? stdout + stderr}`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    build({ force: process.argv.includes('--force') })
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
}

import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withJson } from './command-line.js'
import { environmentOf, startFakeControl, type Answers, type FakeControl } from './fake-control.js'
import { run, type Outcome } from './processes.js'

export const ROOT = join(import.meta.dirname, '..', '..')
export const VMCACHE = join(ROOT, 'bin', 'vmcache')

/** The built command line beside a fake engine, in a directory of its own. */
export interface CommandLineTest {
  readonly directory: string
  readonly environment: Readonly<Record<string, string>>
  readonly fake: FakeControl
  /** Runs `vmcache ARGS` to its end, without a terminal. */
  run(...args: string[]): Promise<Outcome>
  /** The same with `--json`: its exit code and its document. */
  json(...args: string[]): Promise<{ code: number | null; document: Record<string, unknown>; stderr: string }>
  /** Starts `vmcache ARGS` and does not wait. */
  start(...args: string[]): ChildProcess
  stop(): Promise<void>
}

export async function commandLineTest(answers: Answers = {}): Promise<CommandLineTest> {
  if (!existsSync(join(ROOT, 'dist', 'bundle', 'command-line', 'main.js')))
    throw new Error('dist/ is not there: node bin/build.mjs')
  const directory = mkdtempSync(join(tmpdir(), 'vmcache-cli-'))
  const environment = environmentOf(directory)
  const fake = await startFakeControl(join(directory, 'run'), answers)
  return {
    directory,
    environment,
    fake,
    run: (...args) => run(VMCACHE, args, { env: environment, cwd: directory }),
    async json(...args) {
      const { code, stdout, stderr } = await run(VMCACHE, withJson(args), { env: environment, cwd: directory })
      return { code, document: JSON.parse(stdout) as Record<string, unknown>, stderr }
    },
    start: (...args) =>
      spawn(VMCACHE, args, {
        env: { ...process.env, ...environment },
        cwd: directory,
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    async stop() {
      await fake.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

/** What a program that ended said. */
export interface Outcome {
  /** Exit code, or null where a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  /** The program is killed after this time; 60 s where not given. */
  readonly timeoutMilliseconds?: number
}

/** Runs a program to its end; whatever its exit code. Its environment is ours and `env`. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = spawn(program, args, {
    stdio: 'pipe',
    env: { ...process.env, ...options.env },
    timeout: options.timeoutMilliseconds ?? 60_000,
    killSignal: 'SIGKILL',
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin.on('error', () => {}).end(options.input ?? '')
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  if (signal !== null) stderr += `\nended by ${signal}`
  return { code, stdout, stderr }
}

/** Runs a program that must succeed; returns its output, throws with its words otherwise. */
export async function must(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const outcome = await run(program, args, options)
  if (outcome.code === 0) return outcome.stdout
  throw new Error(`${[program, ...args].join(' ')} ended with ${outcome.code}\n${outcome.stdout}${outcome.stderr}`)
}

/** Programs that run beside a test; `stopAll` in `afterEach` or `afterAll` leaves none behind. */
export class Processes {
  readonly #running = new Set<ChildProcess>()

  /** Starts a program with its input closed; its talk goes to stderr where VMCACHE_TEST_VERBOSE is set. */
  start(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
    const talk = process.env['VMCACHE_TEST_VERBOSE'] === undefined ? 'ignore' : 'inherit'
    const child = spawn(program, args, { stdio: ['ignore', talk, talk], env: { ...process.env, ...env } })
    this.#running.add(child)
    child.once('exit', () => this.#running.delete(child))
    child.once('error', () => this.#running.delete(child))
    return child
  }

  async stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].map((child) => this.stop(child)))
  }
}

/** Ends when `condition` holds (or gives a value); throws naming `what` after `timeoutMilliseconds`. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMilliseconds = 60_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMilliseconds
  for (;;) {
    const value = await condition()
    if (value) return value as NonNullable<T>
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMilliseconds / 1000} s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isRunning } from '../../src/base/system-calls.js'
import { controlClient, controlSocketPath, type ControlClient } from '../../src/protocol/control/control-client.js'
import { readSupervisorStatus, type SupervisorStatus } from '../../src/protocol/control/supervisor-status.js'
import { until } from './processes.js'

/** A private supervisor with its engine, in a temporary directory; from dist/, as it is built now. */
export interface EngineProcess {
  readonly directory: string
  readonly stateDir: string
  readonly runDir: string
  readonly supervisor: ChildProcess
  readonly client: ControlClient
  /** What the supervisor says of itself; null where none runs. */
  status(): SupervisorStatus | null
  /** Process id of the engine that runs. */
  enginePid(): number
  /** Ends when an engine other than process `pid` runs; its process id. */
  nextEngine(pid: number): Promise<number>
  /** SIGKILL to the engine; ends when the next one runs. */
  killEngine(): Promise<number>
  /** Everything that was logged. */
  log(): Promise<string>
  /** Sends a signal to the supervisor and waits for its end: exit code, or null where a signal ended it. */
  end(signal?: NodeJS.Signals): Promise<number | null>
  /** Ends everything, whatever state it is in, and removes the directory where it was made for this engine. */
  remove(): Promise<void>
}

export interface EngineProcessOptions {
  /** Directory of an earlier engine, to be used again; its own where not given. */
  readonly directory?: string
  /** Text of the configuration file. */
  readonly configuration?: string
  /** False: does not wait until the engine runs. */
  readonly wait?: boolean
  /** True: the machine's own engine, whose sockets are for groups, though in directories of its own; needs root. */
  readonly forGroups?: boolean
  /** Entry of the supervisor, of another build than dist/. */
  readonly main?: string
  /** Added to the environment of supervisor and engine. */
  readonly environment?: Readonly<Record<string, string>>
}

const MAIN = join(import.meta.dirname, '..', '..', 'dist', 'bundle', 'daemon', 'supervisor.js')
const START_MILLISECONDS = 60_000

export async function startEngineProcess(options: EngineProcessOptions = {}): Promise<EngineProcess> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'vmcache-')))
  const [stateDir, runDir, logFile] = [join(directory, 'state'), join(directory, 'run'), join(directory, 'log')]
  const configFile = join(directory, 'config.yaml')
  await writeFile(configFile, options.configuration ?? '', { flag: options.configuration === undefined ? 'a' : 'w' })

  const log = openSync(logFile, 'a')
  const user = options.forGroups === true ? [] : ['--user']
  const args = [options.main ?? MAIN, ...user, '--config', configFile, '--state-dir', stateDir, '--run-dir', runDir]
  const supervisor = spawn(process.execPath, args, {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...options.environment },
  })
  closeSync(log)

  const client = controlClient(controlSocketPath(runDir))
  const status = () => readSupervisorStatus(runDir)
  const hasEnded = () => supervisor.exitCode !== null || supervisor.signalCode !== null
  const readLog = () => readFile(logFile, 'utf8')

  const engine: EngineProcess = {
    directory,
    stateDir,
    runDir,
    supervisor,
    client,
    status,
    log: readLog,
    enginePid() {
      const pid = status()?.engine.pid
      if (typeof pid === 'number') return pid
      throw new Error('no engine runs')
    },
    nextEngine: (pid) =>
      until(
        'an engine that runs',
        async () => {
          if (hasEnded()) throw new Error(`the supervisor has ended:\n${await readLog()}`)
          const current = status()?.engine
          return current?.state === 'running' && current.pid !== pid ? current.pid : null
        },
        START_MILLISECONDS,
      ),
    killEngine() {
      const pid = engine.enginePid()
      process.kill(pid, 'SIGKILL')
      return engine.nextEngine(pid)
    },
    async end(signal = 'SIGTERM') {
      if (!hasEnded()) {
        const exited = once(supervisor, 'exit')
        supervisor.kill(signal)
        await exited
      }
      return supervisor.exitCode
    },
    async remove() {
      client.close()
      // An engine ends by itself when its supervisor is gone.
      const last = status()
      const pid = last?.pid === supervisor.pid ? last!.engine.pid : null
      await engine.end('SIGKILL')
      if (pid !== null) await until('the end of the engine', () => !isRunning(pid))
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
    },
  }
  try {
    if (options.wait !== false) await engine.nextEngine(0)
    return engine
  } catch (error) {
    await engine.remove()
    throw error
  }
}

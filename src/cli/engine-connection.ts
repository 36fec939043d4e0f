import { setTimeout as sleep } from 'node:timers/promises'
import { VmcacheError } from '../base/errors.js'
import { loadConfiguration, type LoadedConfiguration } from '../daemon/load-configuration.js'
import { directoriesOf } from '../model/configuration.js'
import {
  controlClient,
  controlSocketPath,
  type ChangeOperation,
  type ControlClient,
  type ReadOperation,
} from '../protocol/control/control-client.js'
import type { JobDocument } from '../protocol/control/documents.js'
import type { PostResponse, RequestOf, ResponseOf } from '../protocol/control/routes.js'
import type { GlobalOptions } from './global-options.js'
import { talk } from './output.js'
import { progressDisplay } from './progress.js'

import { ended, waitForJob } from './wait-for-job.js'

/** How often progress is asked for where somebody looks at it, and where nobody does. */
const WATCHED_MILLISECONDS = 250
const UNWATCHED_MILLISECONDS = 10_000
/** What ending costs an engine beyond the time that it may take to close. */
const STOP_MARGIN_SECONDS = 5
const REPLACED_MILLISECONDS = 25

export interface ChangeOptions {
  /** Whether an engine is started where none runs; true where not given. */
  readonly start?: boolean
  /** Whether to wait for the end of the job; where not given, --no-wait says. */
  readonly wait?: boolean
  /** What has to come true before the change is reported. */
  readonly settled?: () => Promise<void>
}

/** The engine as one command sees it: found by flags, environment and configuration file, asked over its control socket. */
export class EngineConnection {
  readonly #options: GlobalOptions
  readonly #interruption: AbortSignal
  /** On the clock of `performance.now()`; null: waits for ever. */
  readonly #deadline: number | null
  #configuration: Promise<LoadedConfiguration> | null = null
  #client: Promise<ControlClient> | null = null

  constructor(options: GlobalOptions, interruption: AbortSignal) {
    this.#options = options
    this.#interruption = interruption
    this.#deadline = options.timeoutSeconds === null ? null : performance.now() + options.timeoutSeconds * 1000
  }

  /** The configuration that this command line stands for. */
  configuration(): Promise<LoadedConfiguration> {
    const { configurationFile, stateDirectory, runDirectory, user } = this.#options
    return (this.#configuration ??= loadConfiguration({
      flags: {
        config: configurationFile ?? undefined,
        'state-dir': stateDirectory ?? undefined,
        'run-dir': runDirectory ?? undefined,
      },
      user,
      environment: process.env,
    }))
  }

  /** Asks for something that changes nothing. ENGINE_UNAVAILABLE where no engine runs. */
  async ask<O extends ReadOperation>(operation: O, request: RequestOf<O>): Promise<ResponseOf<O>> {
    const client = await this.#connected()
    return this.#inTime(operation, (signal) => client.get(operation, request, { signal }))
  }

  /** The metrics in Prometheus's text format. */
  async metrics(): Promise<string> {
    const client = await this.#connected()
    return this.#inTime('metrics', (signal) => client.metrics({ signal }))
  }

  /**
   * Asks for a change and waits for its end. A dry run starts no engine. Without waiting the result is null and the job may
   * run on.
   */
  async change<O extends ChangeOperation>(
    operation: O,
    request: RequestOf<O>,
    { start = true, wait = this.#options.wait, settled = async () => {} }: ChangeOptions = {},
  ): Promise<{ job: JobDocument; result: ResponseOf<O> | null }> {
    const client = await this.#startedIfNeeded(operation, start && !this.#options.dryRun)
    const waitMilliseconds = wait ? Math.ceil(Math.min(1000, this.#left())) : 0
    const options = { signal: this.#interruption, waitMilliseconds }
    const { job, result }: PostResponse<ResponseOf<O>> = await client.post(operation, request, options)
    if (!wait) return { job: job.state === 'running' ? job : ended(job), result: null }
    const done = result === null ? await this.#waited(job, client) : job
    await settled()
    return { job: done, result: result ?? (done.result as ResponseOf<O>) }
  }

  /** Whether an engine answers; being refused is an error. */
  async isRunning(): Promise<boolean> {
    try {
      const client = await this.#unchecked()
      await client.get('engine.status', {}, { signal: this.#interruption })
      return true
    } catch (error) {
      if (error instanceof VmcacheError && error.code === 'ENGINE_UNAVAILABLE') return false
      throw error
    }
  }

  /** Starts an engine where none runs; returns whether one had to be started. */
  async start(): Promise<boolean> {
    if (await this.isRunning()) return false
    await this.#start()
    return true
  }

  /** Ends when engine and supervisor have ended. TIMEOUT where that takes longer than an engine may take to close. */
  async waitUntilStopped(): Promise<void> {
    const { values } = await this.configuration()
    const { waitUntilStopped } = await import('../protocol/control/start-engine.js')
    const milliseconds = Math.min(this.#left(), (values['stop-timeout'] + STOP_MARGIN_SECONDS) * 1000)
    if (await waitUntilStopped(directoriesOf(values), milliseconds)) return
    throw new VmcacheError('TIMEOUT', 'the engine has been told to stop and has not ended in time', {
      hint: 'vmcache engine status, or its log, say what it does',
    })
  }

  /** Ends when another engine than process `pid` runs. */
  async waitUntilReplaced(pid: number): Promise<void> {
    const { values } = await this.configuration()
    const client = await this.#unchecked()
    const deadline = performance.now() + Math.min(this.#left(), (values['stop-timeout'] + STOP_MARGIN_SECONDS) * 1000)
    for (;;) {
      // While there is no engine, the client itself waits for the next.
      const engine = await client.get('engine.status', {}, { signal: this.#interruption })
      if (engine.pid !== pid && engine.state === 'running') return
      if (performance.now() > deadline) break
      await sleep(REPLACED_MILLISECONDS)
    }
    throw new VmcacheError('TIMEOUT', 'the engine has been told to restart and has not in time', {
      hint: 'vmcache engine status, or its log, say what it does',
    })
  }

  async #startedIfNeeded(operation: string, mayStart: boolean): Promise<ControlClient> {
    if (mayStart && !(await this.isRunning())) {
      if (!this.#options.quiet) talk(`no engine runs, starting one for ${operation.replace('.', ' ')}`)
      await this.#start()
    }
    return this.#connected()
  }

  async #start(): Promise<void> {
    const { startEngine } = await import('./start-engine.js')
    const { values } = await this.configuration()
    await startEngine(directoriesOf(values), {
      user: this.#options.user,
      configFile: this.#options.configurationFile,
      ...(this.#deadline === null ? {} : { timeoutMilliseconds: this.#left() }),
    })
  }

  async #waited(job: JobDocument, client: ControlClient): Promise<JobDocument> {
    const display = progressDisplay(process.stderr, this.#options)
    const source = {
      show: (id: string, waitMilliseconds: number, signal: AbortSignal) =>
        client.get('job.show', { id, waitMilliseconds }, { signal }),
      cancel: (id: string) => client.post('job.cancel', { id }),
    }
    try {
      return await waitForJob(job, source, {
        deadline: this.#deadline,
        monotonic: () => performance.now(),
        intervalMilliseconds: process.stderr.isTTY ? WATCHED_MILLISECONDS : UNWATCHED_MILLISECONDS,
        onProgress: (current) => display.update(current),
        signal: this.#interruption,
      })
    } finally {
      await display.stop()
    }
  }

  #left(): number {
    return this.#deadline === null ? Infinity : Math.max(0, this.#deadline - performance.now())
  }

  /** The client, once it is known that this is the host that --host means. */
  #connected(): Promise<ControlClient> {
    return (this.#client ??= this.#unchecked().then(async (client) => {
      const { host } = this.#options
      if (host !== null) {
        const engine = await client.get('engine.status', {}, { signal: this.#interruption })
        if (host !== engine.host && host !== engine.hostId) {
          throw new VmcacheError('HOST_NOT_FOUND', `host ${host} is not known: this host is ${engine.host}`, {
            hint: 'run the command on that host',
            details: { seen: host, expected: engine.host },
          })
        }
      }
      return client
    }))
  }

  async #unchecked(): Promise<ControlClient> {
    const { values } = await this.configuration()
    return controlClient(controlSocketPath(values['run-dir']))
  }

  /** Ends with TIMEOUT at the deadline. */
  async #inTime<T>(what: string, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#deadline === null) return call(this.#interruption)
    const timeout = AbortSignal.timeout(Math.ceil(this.#left()))
    try {
      return await call(AbortSignal.any([timeout, this.#interruption]))
    } catch (error) {
      if (!timeout.aborted) throw error
      throw new VmcacheError('TIMEOUT', `the engine has not answered ${what} in time`, { cause: error })
    }
  }
}

import type { Clock } from '../base/clock.js'
import { messageOf } from '../base/errors.js'
import type { Logger } from '../base/logger.js'
import type { SupervisorStatus } from '../protocol/control/supervisor-status.js'
import type { BackOff } from './back-off.js'
import type { PreviousEnd } from '../operations/previous-end.js'
import { previousEnd, type Tenure, type TenureFile } from './tenure.js'

/** How an engine process ended. `code` 0: it closed everything. */
export interface EngineExit {
  readonly code: number | null
  readonly signal: string | null
}

/** An engine process. */
export interface EngineChild {
  readonly pid: number | null
  /** Ends after the process has been reaped: nothing that it wrote can land later. Never rejects. */
  readonly exited: Promise<EngineExit>
  /** Asks it to close everything and end. `isLast`: no other engine follows it now. */
  stop(isLast: boolean): void
  kill(): void
}

export interface KeptEngine {
  /** The engine has its state database and opens the caches now. */
  restoring(): void
  /** The engine serves everything again: it has dealt with the end of the one before it. */
  running(): void
  /** It answers; to be called every second or so. */
  alive(): void
  /** The engine says why it is about to end. */
  failed(reason: string): void
}

export interface EngineKeeperOptions {
  /** `withoutCaches`: why the engine is to serve disks without their caches; null where it is to use them. */
  readonly spawn: (previousEnd: PreviousEnd, withoutCaches: string | null, kept: KeptEngine) => EngineChild
  readonly tenures: TenureFile
  readonly bootId: string
  readonly supervisorId: string
  readonly stopTimeoutMilliseconds: number
  /** An engine that has not said for so long that it is alive is killed. */
  readonly hangTimeoutMilliseconds: number
  readonly backOff: BackOff
  readonly clock: Clock
  readonly logger: Logger
  readonly onStatus: (status: SupervisorStatus['engine']) => void
}

/** Keeps one engine process running: spawns it, reaps it, spawns the next one, and remembers how each one ended. */
export interface EngineKeeper {
  /** Runs until {@link stop}. */
  run(): Promise<void>
  /** Ends the engine cleanly and starts another; starts one where it is held. */
  replace(): void
  /** Ends the engine cleanly and starts none until {@link release}. */
  hold(): void
  release(): void
  /** Ends the engine cleanly; then {@link run} ends. */
  stop(): void
}

type State = SupervisorStatus['engine']['state']

/** Looks at an engine in the time after which it is taken for hung: what the supervisor itself did not see does not count. */
const LOOKS = 10

/**
 * Engines that end one after the other while they open the caches: the next one serves the disks without. Those that ran are not
 * counted: a disk that is served without its log loses its clean pages, so that must not come from a few kills.
 */
const HOPELESS_RESTORES = 5

export function createEngineKeeper(options: EngineKeeperOptions): EngineKeeper {
  const { backOff, bootId, clock, logger, supervisorId, tenures } = options
  let wanted: 'running' | 'held' | 'ended' = 'running'
  let child: EngineChild | null = null
  let isStopping = false
  let failedRestores = 0
  let lastEnd: SupervisorStatus['engine']['lastEnd'] = null
  let wake: () => void = () => undefined

  const report = (state: State): void => {
    options.onStatus({ state, pid: child?.pid ?? null, failures: backOff.failures, lastEnd })
  }

  /** Ends after the time, or when something else is wanted. */
  const pause = (milliseconds: number | null): Promise<void> =>
    new Promise((resolve) => {
      const cancel = milliseconds === null ? () => undefined : clock.after(milliseconds, () => resolve())
      wake = () => {
        cancel()
        resolve()
      }
    })

  const end = (): void => {
    wake()
    if (child === null || isStopping) return
    const stopped = child
    isStopping = true
    // Who asks in between waits for the next one.
    report(wanted === 'running' ? 'starting' : 'stopping')
    stopped.stop(wanted !== 'running')
    const cancel = clock.after(options.stopTimeoutMilliseconds, () => {
      logger.warn({ engine: stopped.pid }, 'the engine did not close in time and is killed; nothing is lost by that')
      stopped.kill()
    })
    void stopped.exited.then(cancel)
  }

  /** Calls `hung` when an engine says nothing for too long. A supervisor that was held up itself has not looked meanwhile. */
  function watch(hung: () => void): { alive(): void; end(): void } {
    let silent = 0
    let cancel = (): void => undefined
    const look = (): void => {
      cancel = clock.after(options.hangTimeoutMilliseconds / LOOKS, () => {
        silent++
        if (silent < LOOKS) look()
        else hung()
      })
    }
    look()
    return { alive: () => void (silent = 0), end: () => cancel() }
  }

  /** One engine, from its start to the record of its end. Returns the milliseconds to wait before the next. */
  async function tenure(before: Tenure | null): Promise<{ tenure: Tenure; delay: number }> {
    const told = previousEnd(before, { bootId, supervisorId })
    const startedAt = clock.now()
    const start = clock.monotonic()
    let current: Tenure = {
      bootId,
      supervisorId,
      startedAt: new Date(startedAt).toISOString(),
      end: null,
      unsettled: told,
    }
    await tenures.write(current)
    let reason: string | null = null
    let isRestoring = false
    const withoutCaches =
      failedRestores < HOPELESS_RESTORES
        ? null
        : `${failedRestores} engines in a row ended while they opened the caches: ${lastEnd?.reason ?? 'unknown'}`
    let settling: Promise<void> = Promise.resolve()
    isStopping = false
    let wasHung = false
    const watched = watch(() => {
      // One that closes has its own time for that.
      if (child === null || isStopping) return
      wasHung = true
      reason = `it said nothing for ${options.hangTimeoutMilliseconds / 1000} s, and was killed`
      logger.error({ engine: child.pid }, 'the engine hangs and is killed; nothing is lost by that')
      child.kill()
    })
    child = options.spawn(told, withoutCaches, {
      alive: watched.alive,
      restoring: () => (isRestoring = true),
      running() {
        isRestoring = false
        current = { ...current, unsettled: null }
        settling = tenures.write(current).catch((error: unknown) => {
          logger.error({ err: error }, 'the engine runs, but its tenure cannot be recorded')
        })
        if (!isStopping) report('running')
      },
      failed: (why) => (reason = why),
    })
    logger.info({ engine: child.pid, previousEnd: told }, 'engine started')
    report('starting')
    if (wanted !== 'running') end()

    const exit = await child.exited
    watched.end()
    const at = new Date(clock.now()).toISOString()
    const isClean = exit.code === 0
    const fields = { engine: child.pid, ...exit }
    const wasAsked = isStopping
    child = null
    // Nobody's bug ends an engine by SIGKILL. And one without caches that ends leaves it to the next to try with them.
    if (exit.signal !== 'SIGKILL' || wasAsked || wasHung) {
      failedRestores = isRestoring && !wasAsked && withoutCaches === null ? failedRestores + 1 : 0
    }
    await settling
    current = { ...current, end: { clean: isClean, at } }
    await tenures.write(current).catch((error: unknown) => {
      // The next supervisor will read that nobody saw this end, which is the careful side; this one remembers.
      logger.error({ err: error }, 'the end of the engine cannot be recorded')
    })
    const delay = wasAsked ? 0 : backOff.next(clock.monotonic() - start)
    if (isClean) {
      logger.info(fields, 'engine closed')
      return { tenure: current, delay }
    }
    reason ??= exit.signal === null ? `it ended with exit code ${exit.code}` : `it was ended by ${exit.signal}`
    logger.error({ ...fields, reason }, 'engine died')
    lastEnd = { at, reason }
    return { tenure: current, delay }
  }

  return {
    async run() {
      let last = await tenures.read()
      let delay = 0
      while (wanted !== 'ended') {
        if (wanted === 'held') {
          report('held')
          await pause(null)
          delay = 0
          continue
        }
        if (delay > 0) {
          report('waiting')
          await pause(delay)
          delay = 0
          continue
        }
        try {
          ;({ tenure: last, delay } = await tenure(last))
        } catch (error) {
          lastEnd = { at: new Date(clock.now()).toISOString(), reason: messageOf(error) }
          logger.error({ err: error }, 'the engine cannot be started')
          delay = Math.max(backOff.next(0), MINIMUM_RETRY_MILLISECONDS)
        }
      }
    },
    replace() {
      if (wanted === 'ended') return
      wanted = 'running'
      end()
    },
    hold() {
      if (wanted === 'ended') return
      wanted = 'held'
      end()
    },
    release() {
      if (wanted !== 'held') return
      wanted = 'running'
      wake()
    },
    stop() {
      wanted = 'ended'
      end()
    },
  }
}

/** What cannot be started at all is not tried again at once. */
const MINIMUM_RETRY_MILLISECONDS = 200

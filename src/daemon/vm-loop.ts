import type { Clock } from '../base/clock.js'
import { coalesce } from '../base/coalesce.js'
import type { Logger } from '../base/logger.js'

export interface VmLoopOptions {
  /** Compares what is wanted of VMs with what is; returns whether to try again soon. */
  readonly reconcile: () => Promise<boolean>
  /** Looks at what VMs do. */
  readonly observe: () => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
}

/** Runs when a hypervisor says that something changed, and from time to time, as what it says may get lost. */
export interface VmLoop {
  /** Runs it soon; calls while it runs make it run once more. */
  wake(): void
  /** Ends when a run that is under way has. */
  stop(): Promise<void>
}

const AT_LEAST_EVERY_MILLISECONDS = 60_000
const AGAIN_MILLISECONDS = 2000
/** Often enough to see when a VM has become idle. */
const OBSERVE_MILLISECONDS = 15_000

export function startVmLoop({ reconcile, observe, clock, logger }: VmLoopOptions): VmLoop {
  let isStopped = false
  let cancel = (): void => {}
  let lastRun: Promise<void> = Promise.resolve()
  let cancelLook = (): void => {}
  let lastLook: Promise<void> = Promise.resolve()

  const run = coalesce(async () => {
    if (isStopped) return
    cancel()
    const waits = await reconcile().catch((error: unknown) => {
      logger.warn({ err: error }, 'VMs cannot be looked at')
      return false
    })
    cancel = clock.after(waits ? AGAIN_MILLISECONDS : AT_LEAST_EVERY_MILLISECONDS, wake)
  })
  const wake = (): void => {
    if (!isStopped) lastRun = run()
  }
  const look = (): void => {
    lastLook = observe()
      .catch((error: unknown) => logger.warn({ err: error }, 'what VMs do cannot be seen'))
      .then(() => {
        if (!isStopped) cancelLook = clock.after(OBSERVE_MILLISECONDS, look)
      })
  }

  wake()
  look()
  return {
    wake,
    async stop() {
      isStopped = true
      await Promise.all([lastRun, lastLook])
      cancel()
      cancelLook()
    },
  }
}

import type { Clock } from '../base/clock.js'
import { coalesce } from '../base/coalesce.js'
import type { Logger } from '../base/logger.js'

export interface VmLoopOptions {
  /** Compares what is wanted of a VM (null: of all) with what is; returns whether to try again soon. */
  readonly reconcile: (vm: string | null) => Promise<boolean>
  /** Looks at what VMs do. */
  readonly observe: () => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
}

/** Runs when a hypervisor says that something changed, and from time to time, as what it says may get lost. */
export interface VmLoop {
  /** Looks at a VM, by name or UUID, or at all (null), as soon as nobody does. */
  wake(vm: string | null): void
  /** Ends when a run that is under way has. */
  stop(): Promise<void>
}

const AT_LEAST_EVERY_MILLISECONDS = 60_000
const AGAIN_MILLISECONDS = 2000
/** Often enough to see when a VM has become idle. */
const OBSERVE_MILLISECONDS = 15_000

export function startVmLoop({ reconcile, observe, clock, logger }: VmLoopOptions): VmLoop {
  let isStopped = false
  let cancelLook = (): void => {}
  let lastLook: Promise<void> = Promise.resolve()
  const running = new Set<Promise<void>>()
  /** Of each VM that was looked at by itself, and of all (null): cancels the next time. */
  const planned = new Map<string | null, () => void>()

  async function run(vm: string | null): Promise<void> {
    if (isStopped) return
    planned.get(vm)?.()
    planned.delete(vm)
    const waits = await reconcile(vm).catch((error: unknown) => {
      logger.warn({ err: error }, 'VMs cannot be looked at')
      return false
    })
    if (isStopped || !(waits || vm === null)) return
    planned.get(vm)?.()
    planned.set(
      vm,
      clock.after(waits ? AGAIN_MILLISECONDS : AT_LEAST_EVERY_MILLISECONDS, () => wake(vm)),
    )
  }
  const runAll = coalesce(() => run(null))
  const wake = (vm: string | null): void => {
    if (isStopped) return
    const begun = vm === null ? runAll() : run(vm)
    running.add(begun)
    void begun.then(() => running.delete(begun))
  }
  const look = (): void => {
    lastLook = observe()
      .catch((error: unknown) => logger.warn({ err: error }, 'what VMs do cannot be seen'))
      .then(() => {
        if (!isStopped) cancelLook = clock.after(OBSERVE_MILLISECONDS, look)
      })
  }

  wake(null)
  look()
  return {
    wake,
    async stop() {
      isStopped = true
      for (const cancel of planned.values()) cancel()
      await Promise.all([...running, lastLook])
      cancelLook()
    },
  }
}

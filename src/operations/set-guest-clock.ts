import { VmcacheError } from '../base/errors.js'
import type { VmRecord } from '../state/vm-store.js'
import { asVmcacheError } from './as-vmcache-error.js'
import type { ControlPlane } from './control-plane.js'
import { driverOf } from './known-vm.js'

/** Nobody waits longer for the agent of a guest. */
const AGENT_MILLISECONDS = 2000

/**
 * Sets the clock of a guest that stood still, where it has an agent; what became of that is an event. Never fails: the VM goes on with the
 * time that it had.
 */
export async function setGuestClock(plane: ControlPlane, vm: VmRecord): Promise<void> {
  const { clock, journal } = plane
  const abort = new AbortController()
  let cancel = (): void => {}
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(AGENT_MILLISECONDS, () => {
      abort.abort()
      reject(new VmcacheError('HYPERVISOR', `no agent of the guest answers within ${AGENT_MILLISECONDS / 1000} s`))
    })
  })
  const event = { what: 'vm.clock', who: 'engine', vm: vm.name }
  try {
    const isSet = await Promise.race([driverOf(plane, vm).setGuestClock(vm, abort.signal), late])
    if (isSet) await journal.record({ ...event, why: 'it had stood still', result: 'ok' })
  } catch (error) {
    const { code, message } = asVmcacheError(error)
    await journal.record({ ...event, why: message, result: code })
  } finally {
    cancel()
  }
}

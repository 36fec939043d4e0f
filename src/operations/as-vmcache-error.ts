import { OriginError } from '../engine/origin/origin.js'
import { messageOf, VmcacheError } from '../base/errors.js'

/** Anything that was thrown, as an error that a command can show; what nobody expected is INTERNAL. */
export function asVmcacheError(error: unknown): VmcacheError {
  if (error instanceof VmcacheError) return error
  if (error instanceof OriginError) return new VmcacheError(error.code, error.message, { cause: error })
  if (error instanceof Error && error.name === 'AbortError') {
    return new VmcacheError('INTERRUPTED', 'cancelled', { cause: error })
  }
  return new VmcacheError('INTERNAL', messageOf(error), {
    hint: 'this is a bug of vmcache: please report it with the log of the engine',
    cause: error,
  })
}

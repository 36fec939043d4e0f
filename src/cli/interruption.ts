import { EXIT, VmcacheError } from '../base/errors.js'

const controller = new AbortController()

/** Aborted by the first Ctrl-C (SIGINT), with INTERRUPTED as its reason, so that what waits can tidy up. */
export const interruption: AbortSignal = controller.signal

function onInterruption(): void {
  if (interruption.aborted) process.exit(EXIT.interrupted)
  controller.abort(new VmcacheError('INTERRUPTED', 'interrupted'))
}

/** Listens for Ctrl-C; a second one ends the process at once. */
export function listenForInterruption(): void {
  process.on('SIGINT', onInterruption)
}

/** For a command that brings its own meaning of Ctrl-C. */
export function leaveInterruption(): void {
  process.off('SIGINT', onInterruption)
}

import { execa } from 'execa'
import type { Clock } from '../../base/clock.js'
import type { VmListener } from '../driver.js'

export interface EventWatch {
  stop(): void
}

/** libvirtd may be restarted; whoever listened listens again. */
const AGAIN_MILLISECONDS = 5000
/** By then virsh listens. */
const LISTENS_MILLISECONDS = 1000

/**
 * Calls `onChange` for every event of any domain of a connection, and whenever listening begins or ends: events may have been missed. The
 * virsh of an engine that was killed ends with the next event, which it cannot tell anybody.
 */
export function watchEvents(uri: string, clock: Clock, onChange: VmListener): EventWatch {
  const abort = new AbortController()
  const listen = (): void => {
    const child = execa('virsh', ['-q', '-c', uri, 'event', '--all', '--loop'], {
      stdin: 'ignore',
      stderr: 'ignore',
      buffer: false,
      reject: false,
      cancelSignal: abort.signal,
    })
    child.stdout.on('data', onChange)
    clock.after(LISTENS_MILLISECONDS, onChange)
    void child.then(() => {
      if (abort.signal.aborted) return
      onChange()
      clock.after(AGAIN_MILLISECONDS, () => {
        if (!abort.signal.aborted) listen()
      })
    })
  }
  listen()
  return { stop: () => abort.abort() }
}

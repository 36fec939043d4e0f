import { execa } from 'execa'
import type { Clock } from '../../base/clock.js'
import type { VmListener } from '../driver.js'

export interface EventWatch {
  stop(): void
}

/** libvirtd may be restarted; whoever listened listens again. */
const AGAIN_MILLISECONDS = 5000

/** Calls `onChange` for every event of any domain of a connection, and whenever listening begins or ends: events may have been missed. */
export function watchEvents(uri: string, clock: Clock, onChange: VmListener): EventWatch {
  const abort = new AbortController()
  const listen = (): void => {
    const child = execa('virsh', ['-q', '-c', uri, 'event', '--all', '--loop'], {
      stdin: 'ignore',
      stderr: 'ignore',
      buffer: false,
      reject: false,
      // An engine that is killed must not leave it behind: it ends when it cannot write to us any more.
      cancelSignal: abort.signal,
    })
    child.stdout.on('data', onChange)
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

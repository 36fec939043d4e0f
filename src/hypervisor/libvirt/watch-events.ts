import { createInterface } from 'node:readline'
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

/** Events after which disks or state of a domain may be others. */
const TELLING = new Set([
  'lifecycle',
  'reboot',
  'io-error',
  'block-job',
  'disk-change',
  'device-added',
  'device-removed',
])

/** The domain that a line of `virsh event` says something of that matters; null where it says nothing of that kind. */
export function domainOfEvent(line: string): string | null {
  const [, event, domain] = /^event '([^']*)' for domain '(.*?)'(?::|$)/.exec(line) ?? []
  return event !== undefined && TELLING.has(event) ? domain! : null
}

/**
 * Calls `onChange` for the events of all domains of a connection, and whenever listening begins or ends: events may have been missed. The
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
    createInterface(child.stdout).on('line', (line) => {
      const domain = domainOfEvent(line)
      if (domain !== null) onChange(domain)
    })
    clock.after(LISTENS_MILLISECONDS, () => onChange(null))
    void child.then(() => {
      if (abort.signal.aborted) return
      onChange(null)
      clock.after(AGAIN_MILLISECONDS, () => {
        if (!abort.signal.aborted) listen()
      })
    })
  }
  listen()
  return { stop: () => abort.abort() }
}

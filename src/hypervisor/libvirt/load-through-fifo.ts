import { closeSync, constants, existsSync, lstatSync, openSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { VmcacheError } from '../../base/errors.js'
import { makeFifo } from '../../base/system-calls.js'
import type { MemoryWatch } from '../driver.js'
import { reasonToEnd } from '../memory-stream.js'

/**
 * libvirt restores a domain from a file that it opens itself. It is given a FIFO, so that the memory need not be copied first. libvirtd waits
 * while it opens a FIFO that nobody writes, and while it reads one in which nothing comes, and all that is asked of it about that domain
 * waits with it. So the FIFO is open before libvirt hears of it, and its name is gone before it is closed: whoever opened it sees its
 * end, and nobody opens it any more. That of an engine that was killed is closed as well; only who was about to open it waits until the next
 * engine calls {@link freeReaders}.
 */

const LOOK_MILLISECONDS = 500
/** How long `load` takes at most to end when its file has. */
const END_MILLISECONDS = 30_000

export interface FifoSource {
  /** Where the FIFO is to be; its directory is there. */
  readonly fifo: string
  /** What is sent before anything else. */
  readonly start: Buffer
  /** The unix socket at which the rest is to be had. */
  readonly socket: string
}

/**
 * Has `load` read from the FIFO what is sent into it, and ends when it has. Its reader sees the end of the file where nothing moves any more,
 * or `signal` is raised; INTERRUPTED or HYPERVISOR then, whatever `load` says of it. The signal of `load` is raised where it does not end then.
 */
export async function loadThroughFifo(
  { fifo, start, socket }: FifoSource,
  load: (fifo: string, abort: AbortSignal) => Promise<unknown>,
  { clock, signal, progress }: MemoryWatch,
): Promise<void> {
  rmSync(fifo, { force: true })
  makeFifo(fifo, 0o600)
  const sink = new Socket({ fd: openBothEnds(fifo), readable: false, writable: true })
  const source = createConnection(socket)
  const late = new AbortController()
  let cancel = (): void => {}
  const close = (): void => {
    rmSync(fifo, { force: true })
    source.destroy()
    sink.destroy()
    cancel()
    cancel = clock.after(END_MILLISECONDS, () => late.abort())
  }
  // Whoever sends less than all hears of it from `load`.
  for (const end of [sink, source]) end.on('error', close)
  sink.write(start)
  pipeline(source, sink, { end: false }).catch(close)

  let failure: VmcacheError | null = null
  let [movedBytes, movedAt] = [0, clock.monotonic()]
  const look = (): void => {
    if (source.bytesRead !== movedBytes) {
      ;[movedBytes, movedAt] = [source.bytesRead, clock.monotonic()]
      progress(movedBytes, movedBytes)
    }
    failure = reasonToEnd(signal, clock.monotonic() - movedAt)
    if (failure !== null) close()
    else cancel = clock.after(LOOK_MILLISECONDS, look)
  }
  const abort = (): void => {
    cancel()
    look()
  }
  look()
  signal.addEventListener('abort', abort)
  try {
    await load(fifo, late.signal)
  } catch (error) {
    throw failure ?? error
  } finally {
    signal.removeEventListener('abort', abort)
    close()
    cancel()
  }
}

/** Lets go whoever waits at a FIFO of an engine that is no more, in any directory of `directory`. */
export function freeReaders(directory: string, name: string): void {
  if (!existsSync(directory)) return
  for (const entry of readdirSync(directory)) {
    const fifo = join(directory, entry, name)
    if (lstatSync(fifo, { throwIfNoEntry: false })?.isFIFO() !== true) continue
    const descriptor = openBothEnds(fifo)
    rmSync(fifo)
    closeSync(descriptor)
  }
}

/** A FIFO that is open in both directions has somebody at its other end whatever others do: opening it never waits. */
function openBothEnds(fifo: string): number {
  return openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
}

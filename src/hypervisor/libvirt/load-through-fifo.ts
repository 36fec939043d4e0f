import { close as closeCall, constants, open as openCall } from 'node:fs'
import { lstat, readdir, rm } from 'node:fs/promises'
import { createConnection, Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
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
  await rm(fifo, { force: true })
  makeFifo(fifo, 0o600)
  const sink = new Socket({ fd: await openBothEnds(fifo), readable: false, writable: true })
  const source = createConnection(socket)
  const late = new AbortController()
  let cancel = (): void => {}
  const close = async (): Promise<void> => {
    cancel()
    cancel = clock.after(END_MILLISECONDS, () => late.abort())
    source.destroy()
    await rm(fifo, { force: true }).catch(() => {})
    sink.destroy()
  }
  // Whoever sends less than all hears of it from `load`.
  for (const end of [sink, source]) end.on('error', () => void close())
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
    if (failure !== null) void close()
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
    await close()
    cancel()
  }
}

/** Lets go whoever waits at a FIFO of an engine that is no more, in any directory of `directory`. */
export async function freeReaders(directory: string, name: string): Promise<void> {
  for (const entry of await readdir(directory).catch(() => [])) {
    const fifo = join(directory, entry, name)
    const isFifo = await lstat(fifo).then(
      (found) => found.isFIFO(),
      () => false,
    )
    if (!isFifo) continue
    const descriptor = await openBothEnds(fifo)
    await rm(fifo, { force: true })
    await promisify(closeCall)(descriptor)
  }
}

/** A FIFO that is open in both directions has somebody at its other end whatever others do: opening it never waits. */
function openBothEnds(fifo: string): Promise<number> {
  return promisify(openCall)(fifo, constants.O_RDWR | constants.O_NONBLOCK)
}

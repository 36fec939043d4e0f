import type { ObjectWriter } from '../object/write-object.js'
import { acceptOne, interrupted } from './checkpoint-socket.js'
import type { FilledSource } from './checkpoint-keeper.js'
import { receiveStream } from './receive-stream.js'

/** Between two words about progress. */
const PROGRESS_BYTES = 8 * 1024 * 1024

/** Fills a checkpoint with what comes over the first connection to a unix socket; `ready` is called when it listens. */
export function fromSocket(path: string, ready: () => void): FilledSource['fill'] {
  return async (writer, { progress, signal }) => {
    const connection = await acceptOne(path, ready, signal)
    const tell = everySoOften((done) => progress(done, null, 'bytes'))
    await receiveStream(connection, writer, { received: () => tell(writer.streamBytes), signal })
  }
}

/** Fills a checkpoint with pieces of together `total` bytes. */
export function fromPieces(pieces: AsyncIterable<Buffer>, total: number): FilledSource['fill'] {
  return async (writer, { progress, signal }) => {
    const tell = everySoOften((done) => progress(done, total, 'bytes'))
    for await (const piece of pieces) {
      if (signal.aborted) throw interrupted('it was cancelled')
      for (let at = 0; at < piece.length;) {
        await room(writer, signal)
        const count = piece.copy(writer.space, 0, at)
        at += count
        writer.advance(count)
      }
      tell(writer.streamBytes)
    }
  }
}

/** Waits until there is room in a writer. INTERRUPTED, or what made a write fail. */
async function room(writer: ObjectWriter, signal: AbortSignal): Promise<void> {
  while (!writer.hasRoom && writer.failure === undefined && !signal.aborted) {
    await new Promise<void>((resolve) => {
      const go = (): void => {
        signal.removeEventListener('abort', go)
        writer.onChange = () => undefined
        resolve()
      }
      writer.onChange = go
      signal.addEventListener('abort', go, { once: true })
    })
  }
  if (writer.failure !== undefined) throw writer.failure
  if (signal.aborted) throw interrupted('it was cancelled')
}

function everySoOften(tell: (done: number) => void): (done: number) => void {
  let told = 0
  return (done) => {
    if (done - told < PROGRESS_BYTES) return
    told = done
    tell(done)
  }
}

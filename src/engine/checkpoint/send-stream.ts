import { once } from 'node:events'
import type { Socket } from 'node:net'
import { interrupted } from './checkpoint-socket.js'

/**
 * Writes pieces to a connection, one after the other, and closes it. Where a piece cannot be had, or `signal` is raised, the connection is
 * closed before its end. INTERRUPTED where the other end does not take all of it.
 */
export async function sendStream(
  socket: Socket,
  pieces: AsyncIterable<Buffer>,
  { sent, signal }: { readonly sent: (bytes: number) => void; readonly signal: AbortSignal },
): Promise<void> {
  let failure: Error | undefined
  const check = (): void => {
    if (failure !== undefined) throw failure
  }
  const gone = new Promise<void>((resolve) => {
    const end = (error: Error): void => {
      failure ??= error
      resolve()
    }
    socket.on('error', (error) => end(interrupted(error.message)))
    socket.on('close', () => {
      if (!socket.writableFinished) end(interrupted('the connection was closed'))
    })
    signal.addEventListener('abort', () => end(interrupted('it was cancelled')), { once: true })
    if (signal.aborted) end(interrupted('it was cancelled'))
  })
  // Nothing is expected from there; but who does not read does not hear of the end.
  socket.resume()
  try {
    for await (const piece of pieces) {
      check()
      await Promise.race([new Promise<void>((resolve) => void socket.write(piece, () => resolve())), gone])
      check()
      sent(piece.length)
    }
    const finished = once(socket, 'finish')
    socket.end()
    await Promise.race([finished, gone])
    check()
  } finally {
    socket.destroy()
  }
}

import type { Socket } from 'node:net'
import { adoptSocket } from '../nbd/adopt-socket.js'
import type { ObjectWriter } from '../object/write-object.js'
import { interrupted } from './checkpoint-socket.js'

/**
 * Reads what comes in over a connection straight into the memory that an object is written from, until the other end closes it. Ends when
 * all of it is on its way. Where something fails the connection is closed, which tells the hypervisor. INTERRUPTED where `signal` is raised or
 * the connection fails. `received` is called now and then.
 */
export function receiveStream(
  accepted: Socket,
  writer: ObjectWriter,
  { received, signal }: { readonly received: () => void; readonly signal: AbortSignal },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { socket } = adoptSocket(accepted, {
      buffer: () => writer.space,
      callback: (count) => {
        const goesOn = writer.advance(count)
        received()
        return goesOn
      },
    })
    const end = (error: Error | undefined): void => {
      signal.removeEventListener('abort', abort)
      writer.onChange = () => undefined
      socket.destroy()
      if (error === undefined) resolve()
      else reject(error)
    }
    const abort = (): void => end(interrupted('it was cancelled'))
    writer.onChange = () => {
      if (writer.failure !== undefined) end(writer.failure)
      else if (writer.hasRoom) socket.resume()
    }
    signal.addEventListener('abort', abort, { once: true })
    socket.on('end', () => end(undefined))
    socket.on('error', (error) => end(interrupted(error.message)))
    socket.on('close', () => end(interrupted('the connection was closed')))
    if (signal.aborted) abort()
    else socket.resume()
  })
}

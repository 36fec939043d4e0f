import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { VmcacheError, messageOf } from '../../base/errors.js'

/**
 * Listens at a unix socket until somebody connects, and no longer; returns the connection, of which nothing was read. `ready` is called when
 * it listens. INTERRUPTED where `signal` is raised; IN_USE where something is at `path`.
 */
export async function acceptOne(path: string, ready: () => void, signal: AbortSignal): Promise<Socket> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  try {
    server.listen(path)
    await once(server, 'listening', { signal })
    ready()
    const [socket] = (await once(server, 'connection', { signal })) as [Socket]
    return socket
  } catch (error) {
    if (signal.aborted) throw interrupted('nobody had connected')
    throw new VmcacheError('IN_USE', `cannot listen at ${path}: ${messageOf(error)}`, { cause: error })
  } finally {
    // It takes the socket's file away as well.
    server.close()
  }
}

export function interrupted(reason: string): VmcacheError {
  return new VmcacheError('INTERRUPTED', `the stream of the checkpoint was cut short: ${reason}`)
}

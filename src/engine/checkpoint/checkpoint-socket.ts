import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { VmcacheError, messageOf, systemCode } from '../../base/errors.js'

/**
 * Listens at a unix socket until somebody connects, and no longer; returns the connection, of which nothing was read. `ready` is called when
 * it listens. INTERRUPTED where `signal` is raised; IN_USE where something is at `path` already, FAILED where nobody can listen there.
 */
export async function acceptOne(path: string, ready: () => void, signal: AbortSignal): Promise<Socket> {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true })
  const next = async (event: 'listening' | 'connection'): Promise<unknown[]> => {
    try {
      return (await once(server, event, { signal })) as unknown[]
    } catch (error) {
      if (signal.aborted) throw interrupted('nobody had connected')
      const code = systemCode(error) === 'EADDRINUSE' ? 'IN_USE' : 'FAILED'
      throw new VmcacheError(code, `cannot listen at ${path}: ${messageOf(error)}`, { cause: error })
    }
  }
  try {
    server.listen(path)
    await next('listening')
    const connection = next('connection')
    // Whoever is told that it listens may fail.
    connection.catch(() => undefined)
    ready()
    const [socket] = await connection
    return socket as Socket
  } finally {
    // It takes the socket's file away as well.
    server.close()
  }
}

export function interrupted(reason: string): VmcacheError {
  return new VmcacheError('INTERRUPTED', `the stream of the checkpoint was cut short: ${reason}`)
}

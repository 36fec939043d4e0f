import { Socket, type OnReadOpts } from 'node:net'
import { checked, systemCall } from '../../base/system/libc.js'

export interface AdoptedSocket {
  readonly socket: Socket
  /** Whether the other end has closed, or will send no more; known at once, also while much is still unread. */
  peerHasLeft(): boolean
}

interface PrivateHandle {
  readonly fd: number
}

/**
 * Takes over a connection that a server accepted paused, so that it reads into a buffer of the caller's. node:net offers
 * `onread` only where it connects, not where it accepts; this is the one place that knows its private `_handle`.
 */
export function adoptSocket(accepted: Socket, onread: OnReadOpts): AdoptedSocket {
  const shell = accepted as unknown as { _handle: PrivateHandle | null }
  const handle = shell._handle
  // Without its handle the accepted socket is an empty shell: destroying it only takes it off the server's books.
  shell._handle = null
  accepted.destroy()
  const socket = new Socket({ handle, onread } as ConstructorParameters<typeof Socket>[0])
  return { socket, peerHasLeft: () => socket.destroyed || handle === null || hasHungUp(handle.fd) }
}

const POLLERR = 0x8
const POLLHUP = 0x10
const POLLRDHUP = 0x2000

const poll = systemCall<[Uint8Array, number, number]>('poll', ['void *', 'uint64', 'int'], 'int')

/** struct pollfd: descriptor (32), events asked for (16), events found (16). */
function hasHungUp(fd: number): boolean {
  const pollFd = Buffer.alloc(8)
  pollFd.writeInt32LE(fd, 0)
  pollFd.writeInt16LE(POLLRDHUP, 4)
  checked(poll.now(pollFd, 1, 0), 'poll', `socket ${fd}`)
  return (pollFd.readInt16LE(6) & (POLLERR | POLLHUP | POLLRDHUP)) !== 0
}

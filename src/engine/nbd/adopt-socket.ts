import { Socket, type OnReadOpts } from 'node:net'
import { checked, systemCall } from '../../base/system/libc.js'
import { addressOf, duplicateDescriptor } from '../../base/system-calls.js'
import type { ByteSink } from './gathered-output.js'

/**
 * What the kernel may hold of replies that the client has not read, beside its own overhead (it doubles the number). Linux
 * wakes a writer when three quarters have been read: with the usual 208 KiB a thread waits for its client within every large reply.
 */
const SEND_BUFFER_BYTES = 512 * 1024

export interface AdoptedSocket {
  readonly socket: Socket
  /** The writing side of `socket`, which sends at once what there is room for. */
  readonly sink: ByteSink
  /** Whether the other end has closed, or will send no more; known at once, also while much is still unread. */
  peerHasLeft(): boolean
}

interface PrivateHandle {
  readonly fd: number
}

interface WithHandle {
  _handle: PrivateHandle | null
}

/**
 * Takes over a connection that a server accepted paused, so that it reads into a buffer of the caller's. node:net offers
 * `onread` only where it connects, not where it accepts; this file is the one place that knows its private `_handle`.
 */
export function adoptSocket(accepted: Socket, onread: OnReadOpts): AdoptedSocket {
  const shell = accepted as unknown as WithHandle
  const handle = shell._handle
  // Without its handle the accepted socket is an empty shell: destroying it only takes it off the server's books.
  shell._handle = null
  accepted.destroy()
  return adopted(new Socket({ handle, onread } as ConstructorParameters<typeof Socket>[0]), handle)
}

/** The same for the descriptor of a connection, which is the socket's from now on. */
export function adoptDescriptor(descriptor: number, onread: OnReadOpts): AdoptedSocket {
  const options = { fd: descriptor, readable: true, writable: true, onread }
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0])
  return adopted(socket, (socket as unknown as WithHandle)._handle)
}

/** Gives up a connection that a server accepted paused, for whoever is given the descriptor. */
export function descriptorOf(accepted: Socket): number {
  const descriptor = duplicateDescriptor((accepted as unknown as WithHandle)._handle!.fd)
  accepted.destroy()
  return descriptor
}

function adopted(socket: Socket, handle: PrivateHandle | null): AdoptedSocket {
  if (handle !== null) enlargeSendBuffer(handle.fd)
  const native = send.bare()
  return {
    socket,
    sink: {
      write: (bytes, done) => socket.write(bytes, done),
      cork: () => socket.cork(),
      uncork: () => socket.uncork(),
      trySend(bytes) {
        if (handle === null || socket.destroyed) return 0
        // A socket that failed says so at the write that follows.
        return Math.max(0, native(handle.fd, addressOf(bytes), bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL))
      },
    },
    peerHasLeft: () => socket.destroyed || handle === null || hasHungUp(handle.fd),
  }
}

const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_SNDBUFFORCE = 32
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000

const send = systemCall<[number, number, number, number]>('send', ['int', 'uintptr_t', 'uint64', 'int'])
const setsockopt = systemCall<[number, number, number, Uint8Array, number]>(
  'setsockopt',
  ['int', 'int', 'int', 'void *', 'uint'],
  'int',
)

/** As far as the system lets us: beyond net.core.wmem_max only with CAP_NET_ADMIN. */
function enlargeSendBuffer(fd: number): void {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(SEND_BUFFER_BYTES)
  if (setsockopt.now(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes, bytes.length) < 0) {
    setsockopt.now(fd, SOL_SOCKET, SO_SNDBUF, bytes, bytes.length)
  }
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

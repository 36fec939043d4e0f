import { closeSync } from 'node:fs'
import { addressOf, checked, systemCall, systemError } from './libc.js'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOCK_SEQPACKET = 5
const SOCK_CLOEXEC = 0o2000000
const SOL_SOCKET = 1
const SO_PEERCRED = 17
const SCM_RIGHTS = 1
const MSG_NOSIGNAL = 0x4000
const MSG_CMSG_CLOEXEC = 0x4000_0000
const MSG_CTRUNC = 0x8
const MSG_TRUNC = 0x20
const F_DUPFD_CLOEXEC = 1030
const EMSGSIZE = 90
const ENAMETOOLONG = 36

const socket = systemCall<[number, number, number]>('socket', ['int', 'int', 'int'], 'int')
const socketpair = systemCall<[number, number, number, Uint8Array]>(
  'socketpair',
  ['int', 'int', 'int', 'void *'],
  'int',
)
const bind = systemCall<[number, Uint8Array, number]>('bind', ['int', 'void *', 'uint'], 'int')
const fcntl = systemCall<[number, number, number]>('fcntl', ['int', 'int', 'int'], 'int')
const fchmod = systemCall<[number, number]>('fchmod', ['int', 'uint'], 'int')
const listen = systemCall<[number, number]>('listen', ['int', 'int'], 'int')
const getsockopt = systemCall<[number, number, number, Uint8Array, Uint8Array]>(
  'getsockopt',
  ['int', 'int', 'int', 'void *', 'void *'],
  'int',
)
const sendto = systemCall<[number, Uint8Array, number, number, Uint8Array, number]>('sendto', [
  'int',
  'void *',
  'uint64',
  'int',
  'void *',
  'uint',
])
const sendmsg = systemCall<[number, Uint8Array, number]>('sendmsg', ['int', 'void *', 'int'])
const recvmsg = systemCall<[number, Uint8Array, number]>('recvmsg', ['int', 'void *', 'int'])

/** Longest path of a unix socket: sun_path without its final zero. */
export const MAXIMUM_SOCKET_PATH_BYTES = 107

/** struct sockaddr_un: family, then the path; `@name` is a name in the abstract namespace. */
function packAddress(path: string): Buffer {
  const name = Buffer.from(path)
  if (name.length === 0 || name.length > MAXIMUM_SOCKET_PATH_BYTES) throw systemError('bind', path, ENAMETOOLONG)
  const abstract = path.startsWith('@')
  const address = Buffer.alloc(2 + name.length + (abstract ? 0 : 1))
  address.writeUInt16LE(AF_UNIX, 0)
  name.copy(address, 2)
  if (abstract) address[2] = 0
  return address
}

/**
 * Creates a listening unix socket at `path`, which must not exist, and returns its descriptor (closed on exec). `mode`, cut
 * by the umask, is the socket's from the first moment.
 */
export function listenUnix(path: string, options: { mode?: number; backlog: number }): number {
  const address = packAddress(path)
  const fd = checked(socket.now(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket', path)
  try {
    // bind(2) gives the socket's inode the mode of the socket itself.
    if (options.mode !== undefined) checked(fchmod.now(fd, options.mode), 'fchmod', path)
    checked(bind.now(fd, address, address.length), 'bind', path)
    checked(listen.now(fd, options.backlog), 'listen', path)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Two connected sockets that keep message boundaries, closed on exec. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2)
  const bytes = new Uint8Array(pair.buffer)
  checked(socketpair.now(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, bytes), 'socketpair', 'unix')
  return [pair[0]!, pair[1]!]
}

/** Who connected the other end of a unix socket, as it was at that moment. */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

export function peerCredentials(socketFd: number): PeerCredentials {
  const [pid, uid, gid, length] = [0, 4, 8, 12]
  const memory = Buffer.alloc(16)
  memory.writeUInt32LE(12, length)
  const outcome = getsockopt.now(socketFd, SOL_SOCKET, SO_PEERCRED, memory, memory.subarray(length))
  checked(outcome, 'getsockopt(SO_PEERCRED)', nameOf(socketFd))
  return { pid: memory.readInt32LE(pid), uid: memory.readUInt32LE(uid), gid: memory.readUInt32LE(gid) }
}

/** Sends one datagram to the unix socket at `path` (`@name`: abstract). */
export function sendDatagram(path: string, payload: Uint8Array): void {
  const address = packAddress(path)
  const fd = checked(socket.now(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket', path)
  try {
    checked(sendto.now(fd, payload, payload.length, MSG_NOSIGNAL, address, address.length), 'sendto', path)
  } finally {
    closeSync(fd)
  }
}

/*
 * One message with at most one descriptor, in one piece of memory:
 *   struct msghdr  0 name | 8 name length | 16 iov | 24 iov count | 32 control | 40 control length | 48 flags | 56
 *   struct iovec  56 address | 64 length | 72
 *   struct cmsghdr 72 length | 80 level | 84 type | 88 descriptor | 92 room for a second one | 96
 */
const IOVEC = 56
const CONTROL = 72
const CONTROL_BYTES = 24
const CONTROL_HEADER_BYTES = 16
const DESCRIPTOR_BYTES = 4
const MESSAGE_BYTES = CONTROL + CONTROL_BYTES

function packMessage(payload: Uint8Array, hasControl: boolean): Buffer {
  const message = Buffer.alloc(MESSAGE_BYTES)
  const base = addressOf(message)
  message.writeBigUInt64LE(BigInt(base + IOVEC), 16)
  message.writeBigUInt64LE(1n, 24)
  if (hasControl) {
    message.writeBigUInt64LE(BigInt(base + CONTROL), 32)
    message.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40)
  }
  message.writeBigUInt64LE(BigInt(addressOf(payload)), IOVEC)
  message.writeBigUInt64LE(BigInt(payload.length), IOVEC + 8)
  return message
}

/** Sends `payload` (at least one byte) and, unless null, a duplicate of `descriptor` over a unix socket, in one message. */
export function sendDescriptor(socketFd: number, descriptor: number | null, payload: Uint8Array): void {
  const message = packMessage(payload, descriptor !== null)
  if (descriptor !== null) {
    message.writeBigUInt64LE(BigInt(CONTROL_HEADER_BYTES + DESCRIPTOR_BYTES), CONTROL)
    message.writeInt32LE(SOL_SOCKET, CONTROL + 8)
    message.writeInt32LE(SCM_RIGHTS, CONTROL + 12)
    message.writeInt32LE(descriptor, CONTROL + 16)
  }
  const sent = checked(sendmsg.now(socketFd, message, MSG_NOSIGNAL), 'sendmsg', nameOf(socketFd))
  if (sent !== payload.length) throw systemError('sendmsg', nameOf(socketFd), EMSGSIZE)
}

export interface ReceivedMessage {
  readonly payload: Buffer
  /** Now this process's (closed on exec), or null where none came along. */
  readonly descriptor: number | null
}

/** Longest payload that is taken; a longer message is an error (EMSGSIZE). */
export const MAXIMUM_PAYLOAD_BYTES = 64 * 1024

/**
 * Receives one message of {@link sendDescriptor}; null when the other end is closed. Waits on this thread, unless the socket
 * does not block (then EAGAIN).
 */
export function receiveDescriptor(socketFd: number): ReceivedMessage | null {
  const payload = Buffer.alloc(MAXIMUM_PAYLOAD_BYTES)
  const message = packMessage(payload, true)
  return unpackMessage(socketFd, recvmsg.now(socketFd, message, MSG_CMSG_CLOEXEC), message, payload)
}

/** The same, waiting on a thread of the pool. */
export async function receiveDescriptorLater(socketFd: number): Promise<ReceivedMessage | null> {
  const payload = Buffer.alloc(MAXIMUM_PAYLOAD_BYTES)
  const message = packMessage(payload, true)
  return unpackMessage(socketFd, await recvmsg.later(socketFd, message, MSG_CMSG_CLOEXEC), message, payload)
}

function unpackMessage(socketFd: number, outcome: number, message: Buffer, payload: Buffer): ReceivedMessage | null {
  const received = checked(outcome, 'recvmsg', nameOf(socketFd))
  const descriptors = unpackDescriptors(message)
  if (received === 0 && descriptors.length === 0) return null
  const flags = message.readInt32LE(48)
  // A peer may send more than was agreed: nothing that it sent stays open by accident.
  if (descriptors.length > 1 || (flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0) {
    descriptors.forEach((descriptor) => closeSync(descriptor))
    throw systemError('recvmsg', nameOf(socketFd), EMSGSIZE)
  }
  return { payload: payload.subarray(0, received), descriptor: descriptors[0] ?? null }
}

function unpackDescriptors(message: Buffer): number[] {
  if (Number(message.readBigUInt64LE(40)) < CONTROL_HEADER_BYTES) return []
  if (message.readInt32LE(CONTROL + 8) !== SOL_SOCKET || message.readInt32LE(CONTROL + 12) !== SCM_RIGHTS) return []
  const count = Math.floor((Number(message.readBigUInt64LE(CONTROL)) - CONTROL_HEADER_BYTES) / DESCRIPTOR_BYTES)
  return Array.from({ length: count }, (_, index) =>
    message.readInt32LE(CONTROL + CONTROL_HEADER_BYTES + index * DESCRIPTOR_BYTES),
  )
}

const nameOf = (socketFd: number): string => `socket ${socketFd}`

/** A further descriptor (closed on exec) of the socket that `descriptor` is open for; it lives until both are closed. */
export function duplicateDescriptor(descriptor: number): number {
  return checked(fcntl.now(descriptor, F_DUPFD_CLOEXEC, 0), 'fcntl', `socket ${descriptor}`)
}

/**
 * protocol/nbd/: the Network Block Device protocol as bytes: codecs and negotiation for both sides, without sockets.
 *
 * Source: the protocol document of the NBD project (doc/proto.md in NetworkBlockDevice/nbd); section names in the
 * comments of this folder are its headings. Everything on the wire is big-endian.
 *
 * The nouns: a connection begins with the *handshake* (greeting, then *options*, each answered by *option replies*) and
 * ends in *transmission*: *requests*, each answered by a *simple reply* or by the *chunks* of a *structured reply*. A
 * *cookie* (64 bits, chosen by the client) ties replies to requests. An *export* is what a name stands for.
 *
 * Codecs bound what a length field makes them hold before they allocate. What breaks the protocol is a
 * {@link NbdProtocolError}: the connection it came from is closed, nothing else is touched.
 */

/** 64-bit magic numbers as pairs of 32-bit words, high word first ("Handshake phase"). */
export const GREETING_MAGIC = [0x4e42444d, 0x41474943] as const // NBDMAGIC
export const OPTION_MAGIC = [0x49484156, 0x454f5054] as const // IHAVEOPT
export const OPTION_REPLY_MAGIC = [0x0003e889, 0x045565a9] as const

export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef

/** "Handshake flags" (server) and "Client flags". */
export const HandshakeFlag = { fixedNewstyle: 1 << 0, noZeroes: 1 << 1 } as const

/** "Option types". */
export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const

/** "Option reply types"; errors have bit 31 set. */
export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errorUnsupported: 0x8000_0001,
  errorPolicy: 0x8000_0002,
  errorInvalid: 0x8000_0003,
  errorPlatform: 0x8000_0004,
  errorTlsRequired: 0x8000_0005,
  errorUnknown: 0x8000_0006,
  errorShutdown: 0x8000_0007,
  errorBlockSizeRequired: 0x8000_0008,
  errorTooBig: 0x8000_0009,
} as const

export function isErrorReply(type: number): boolean {
  return type >= 0x8000_0000
}

/** Information types of NBD_OPT_INFO and NBD_OPT_GO. */
export const Info = { export: 0, name: 1, description: 2, blockSize: 3 } as const

/** "Transmission flags" of an export. */
export const TransmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  rotational: 1 << 4,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDontFragment: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const

/** "Request types". */
export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const

/** "Command flags". */
export const CommandFlag = {
  fua: 1 << 0,
  noHole: 1 << 1,
  dontFragment: 1 << 2,
  requestOne: 1 << 3,
  fastZero: 1 << 4,
} as const

/** "Structured reply flags". */
export const ChunkFlag = { done: 1 << 0 } as const

/** "Structured reply types"; errors have bit 15 set. */
export const ChunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const

/** "Metadata contexts": the one that this software knows, and its status flags. */
export const ALLOCATION_CONTEXT = 'base:allocation'
export const AllocationFlag = { hole: 1 << 0, zero: 1 << 1 } as const

/** "String field"-limits: no name or message may be longer. */
export const MAXIMUM_STRING_BYTES = 4096
/** Payload that a client may assume where the server announces no limit ("Block size constraints"). */
export const DEFAULT_MAXIMUM_PAYLOAD_BYTES = 32 * 1024 * 1024
/** Port of nbd:// where a URI names none. */
export const DEFAULT_PORT = 10809

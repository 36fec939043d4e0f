/** The peer broke the protocol, or wants what cannot be had: its connection is of no further use. */
export class NbdProtocolError extends Error {
  override readonly name = 'NbdProtocolError'
}

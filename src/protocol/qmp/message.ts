/**
 * protocol/qmp/: the QEMU Machine Protocol (docs/interop/qmp-spec.txt of QEMU): JSON documents, one on each line. A server greets,
 * answers each command under the id that it came with, and sends events whenever it likes. No sockets here.
 */
import { VmcacheError } from '../../base/errors.js'

/** What a server sends. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly capabilities: readonly string[] }
  | { readonly kind: 'answer'; readonly id: number | null; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | null; readonly class: string; readonly description: string }
  | { readonly kind: 'event'; readonly event: QmpEvent }

export interface QmpEvent {
  /** `STOP`, `BLOCK_IO_ERROR` ... */
  readonly name: string
  readonly data: Readonly<Record<string, unknown>>
  /** Milliseconds since 1970 on the clock of QEMU; null where it does not say. */
  readonly at: number | null
}

export interface QmpCommand {
  /** Null: whoever passes the command on numbers it. */
  readonly id: number | null
  readonly command: string
  readonly arguments?: object
  /** Run beside the commands that wait for the main loop; only on a connection that agreed to it, and only what QEMU allows. */
  readonly outOfBand?: boolean
}

/** A command as it goes over the wire, with the end of its line. */
export function encodeCommand({ id, command, arguments: given, outOfBand = false }: QmpCommand): string {
  const named = outOfBand ? { 'exec-oob': command } : { execute: command }
  return `${JSON.stringify({ ...named, ...(given === undefined ? {} : { arguments: given }), ...(id === null ? {} : { id }) })}\n`
}

/** What one line says. HYPERVISOR where it is no message of the protocol. */
export function decodeMessage(line: string): QmpMessage {
  const document = objectOf(parse(line))
  if (document === null) throw noMessage(line)
  const id = typeof document['id'] === 'number' ? document['id'] : null
  const greeting = objectOf(document['QMP'])
  if (greeting !== null) return { kind: 'greeting', capabilities: strings(greeting['capabilities']) }
  if (typeof document['event'] === 'string') {
    const data = objectOf(document['data']) ?? {}
    return { kind: 'event', event: { name: document['event'], data, at: timeOf(document['timestamp']) } }
  }
  const error = objectOf(document['error'])
  if (error !== null) {
    const [kind, description] = [error['class'], error['desc']]
    return {
      kind: 'error',
      id,
      class: typeof kind === 'string' ? kind : 'GenericError',
      description: typeof description === 'string' ? description : 'no reason given',
    }
  }
  if ('return' in document) return { kind: 'answer', id, value: document['return'] }
  throw noMessage(line)
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw noMessage(line)
  }
}

function objectOf(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((part): part is string => typeof part === 'string') : []
}

/** Seconds and microseconds; -1 where QEMU could not tell. */
function timeOf(timestamp: unknown): number | null {
  const { seconds, microseconds } = objectOf(timestamp) ?? {}
  if (typeof seconds !== 'number' || typeof microseconds !== 'number' || seconds < 0) return null
  return seconds * 1000 + Math.trunc(microseconds / 1000)
}

const SHOWN = 80

function noMessage(line: string): VmcacheError {
  const short = line.length > SHOWN ? `${line.slice(0, SHOWN)}...` : line
  return new VmcacheError('HYPERVISOR', `not a message of QEMU's monitor: ${JSON.stringify(short)}`)
}

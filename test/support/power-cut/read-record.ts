import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CALL, RECORD_BYTES, RECORD_MAGIC } from './record-format.js'

/** What a call does to its file. */
export type CallKind = Exclude<keyof typeof CALL, 'ended'>

export interface RecordedCall {
  readonly kind: CallKind
  /** Index of the watched file. */
  readonly file: number
  readonly offset: number
  readonly length: number
  /** Of a write; null for zeroes and syncs. */
  readonly bytes: Buffer | null
  /** Nanoseconds of {@link now}. */
  readonly beganAt: number
  /** Infinity where the process ended before the call, or where it failed: it took effect, or did not, or partly. */
  endedAt: number
}

export interface RecordedEvent {
  readonly at: number
  readonly call: RecordedCall
  readonly what: 'began' | 'ended'
}

const ORIGIN = process.hrtime.bigint()

/** Nanoseconds of CLOCK_MONOTONIC since this process began; the recorder's times are given in them, too. */
export function now(): number {
  return Number(process.hrtime.bigint() - ORIGIN)
}

const { ended: _, ...BEGINNINGS } = CALL
const KINDS = new Map(Object.entries(BEGINNINGS).map(([name, value]) => [value as number, name as CallKind]))

/** The calls of all threads of all processes that recorded into a directory, as events in order of time. */
export function readRecord(directory: string): RecordedEvent[] {
  const events = readdirSync(directory).flatMap((name) => eventsOf(readFileSync(join(directory, name)), name))
  return events.sort((left, right) => left.at - right.at)
}

/** A process that was killed may leave the begin of an entry at the end: then its call had not begun. */
function eventsOf(record: Buffer, name: string): RecordedEvent[] {
  const events: RecordedEvent[] = []
  const running = new Map<number, RecordedCall>()
  for (let start = 0; start + RECORD_BYTES <= record.length;) {
    const header = record.subarray(start, start + RECORD_BYTES)
    if (header.readUInt32LE(0) !== RECORD_MAGIC) throw new Error(`${name} is no record at byte ${start}`)
    const end = start + RECORD_BYTES + header.readUInt32LE(12)
    if (end > record.length) break
    const bytes = record.subarray(start + RECORD_BYTES, end)
    start = end
    const number = header.readUInt32LE(8)
    const at = Number(header.readBigInt64LE(16) - ORIGIN)
    const length = header.readDoubleLE(32)
    const kind = KINDS.get(header.readUInt8(4))
    if (kind !== undefined) {
      const call: RecordedCall = {
        kind,
        file: header.readUInt8(5),
        offset: header.readDoubleLE(24),
        length,
        bytes: bytes.length > 0 ? bytes : null,
        beganAt: at,
        endedAt: Infinity,
      }
      running.set(number, call)
      events.push({ at, call, what: 'began' })
      continue
    }
    const call = running.get(number)!
    running.delete(number)
    if (length < 0) continue
    if (call.bytes !== null && length !== call.length) {
      throw new Error(`${name}: a write of ${call.length} bytes wrote ${length}`)
    }
    call.endedAt = at
    events.push({ at, call, what: 'ended' })
  }
  return events
}

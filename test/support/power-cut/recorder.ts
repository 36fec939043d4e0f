/**
 * Loaded with `node --import` before the engine, and again in each of its threads. It replaces what changes or syncs files below all of
 * the engine's own code: the functions of node:fs, and the functions of the C library that koffi hands out. A call goes through
 * unchanged; what it does to a watched file is written down before and after. Two more things are replaced: the boot id, and if asked for in the I/O threads
 * the monotonic clock, which runs faster, so that what asks for half a minute without a write happens within a test.
 *
 * Nothing here proves that no way to the files was forgotten: whoever reads the record replays it and compares it with the files.
 */
import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { isMainThread, threadId } from 'node:worker_threads'
import { CALL, RECORD_BYTES, RECORD_MAGIC, RECORDER } from './record-format.js'

type Call = (typeof CALL)[keyof typeof CALL]
type AnyFunction = (...values: never[]) => unknown
type Callback = (error: Error | null, ...results: unknown[]) => void
/** A function of the C library as koffi gives it. */
type NativeFunction = ((...values: unknown[]) => number) & { async: (...values: unknown[]) => void }
interface Koffi {
  load: (path: string | null) => { func: (name: string, result: string, types: readonly string[]) => NativeFunction }
}

const RWF_DSYNC = 0x2
const SYNC_FILE_RANGE_ALL = 7
const FALLOC_FL_KEEP_SIZE = 0x1
const FALLOC_FL_PUNCH_HOLE = 0x2
const FALLOC_FL_ZERO_RANGE = 0x10

const setting = (name: string): string => process.env[name]!
const { fstatSync, openSync, readFileSync, statSync, write, writeSync, fsync, fsyncSync, fdatasync, fdatasyncSync } = fs

const watched = new Map<string, number>()
const identity = (stat: fs.Stats): string =>
  stat.isBlockDevice() ? `block ${stat.rdev}` : `file ${stat.dev} ${stat.ino}`
for (const [index, path] of (JSON.parse(setting(RECORDER.files)) as string[]).entries()) {
  watched.set(identity(statSync(path)), index)
}

/** Index of the watched file behind a descriptor; descriptors are used again for other files, so each call looks. */
function fileOf(descriptor: number): number | undefined {
  try {
    return watched.get(identity(fstatSync(descriptor)))
  } catch {
    return undefined
  }
}

let recordDescriptor: number | undefined
let calls = 0

function append(
  call: Call,
  file: number,
  number: number,
  offset: number,
  length: number,
  data: Uint8Array | null,
): void {
  const dataBytes = data?.length ?? 0
  const record = Buffer.alloc(RECORD_BYTES + dataBytes)
  record.writeUInt32LE(RECORD_MAGIC, 0)
  record.writeUInt8(call, 4)
  record.writeUInt8(file, 5)
  record.writeUInt32LE(number, 8)
  record.writeUInt32LE(dataBytes, 12)
  record.writeDoubleLE(offset, 24)
  record.writeDoubleLE(length, 32)
  if (data !== null) record.set(data, RECORD_BYTES)
  // Of a call that begins: the last thing before it. Of one that ended: the first thing after it, before the engine hears of it.
  record.writeBigInt64LE(process.hrtime.bigint(), 16)
  recordDescriptor ??= openSync(join(setting(RECORDER.directory), `${process.pid}-${threadId}.record`), 'a')
  for (let done = 0; done < record.length;) done += writeSync(recordDescriptor, record, done)
}

/** Writes down that a call begins; the returned function, that it ended: with a count of bytes or 0, or below 0 where it failed. */
function begin(call: Call, file: number, offset: number, length: number, data: Uint8Array | null) {
  const number = ++calls
  append(call, file, number, offset, length, data)
  return (result: number) => append(CALL.ended, file, number, 0, result, null)
}

/** Runs a call that is over when it returns. */
function runNow<Result>(end: (result: number) => void, call: () => Result): Result {
  let outcome: Result
  try {
    outcome = call()
  } catch (error) {
    end(-1)
    throw error
  }
  end(typeof outcome === 'number' ? outcome : 0)
  return outcome
}

/** Runs a call that calls back; the last of its arguments is the callback. */
function runLater(end: (result: number) => void, values: unknown[], call: (...values: never[]) => void): void {
  const callback = values.at(-1) as Callback
  const ended: Callback = (error, ...results) => {
    end((error ?? null) !== null ? -1 : typeof results[0] === 'number' ? results[0] : 0)
    callback(error, ...results)
  }
  ;(call as (...values: unknown[]) => void)(...values.slice(0, -1), ended)
}

/** The bytes of a write of node:fs in the form (descriptor, buffer, offset, length, position). */
function beginWrite(file: number, values: readonly unknown[]) {
  const [, buffer, at, length, position] = values as [number, Uint8Array, number, number, number]
  if (!ArrayBuffer.isView(buffer) || ![at, length, position].every((value) => typeof value === 'number')) {
    throw new Error('a watched file is written in a form that the recorder does not know')
  }
  return begin(CALL.write, file, position, length, buffer.subarray(at, at + length))
}

function replace(name: keyof typeof fs, wrapper: (...values: unknown[]) => unknown): void {
  // What util.promisify and others look for.
  Object.defineProperties(wrapper, Object.getOwnPropertyDescriptors(fs[name]))
  Object.assign(fs, { [name]: wrapper })
}

/** Replaces a function of node:fs whose first argument is a descriptor; `watch` runs it where that is of a watched file. */
function replaceCall(
  name: keyof typeof fs,
  original: AnyFunction,
  watch: (file: number, values: unknown[]) => unknown,
) {
  replace(name, (...values) => {
    const file = fileOf(values[0] as number)
    return file === undefined ? (original as (...values: unknown[]) => unknown)(...values) : watch(file, values)
  })
}

replaceCall('writeSync', writeSync, (file, values) =>
  runNow(beginWrite(file, values), () => (writeSync as (...values: unknown[]) => number)(...values)),
)
replaceCall('write', write, (file, values) => runLater(beginWrite(file, values), values, write as AnyFunction as never))
for (const [name, sync] of Object.entries({ fsyncSync, fdatasyncSync })) {
  replaceCall(name as 'fsyncSync', sync, (file, [descriptor]) =>
    runNow(begin(CALL.sync, file, 0, 0, null), () => sync(descriptor as number)),
  )
}
for (const [name, sync] of Object.entries({ fsync, fdatasync })) {
  replaceCall(name as 'fsync', sync, (file, values) =>
    runLater(begin(CALL.sync, file, 0, 0, null), values, sync as AnyFunction as never),
  )
}
replace('readFileSync', (...values) =>
  values[0] === '/proc/sys/kernel/random/boot_id'
    ? setting(RECORDER.bootId)
    : (readFileSync as (...values: unknown[]) => unknown)(...values),
)
syncBuiltinESMExports()

/** A wait of half a minute ends so soon; a shorter one may be somebody's patience with a busy machine. */
const LONG_WAIT_MILLISECONDS = 20_000
const HASTY_WAIT_MILLISECONDS = 500

const haste = Number(setting(RECORDER.haste))
if (!isMainThread && haste > 1) {
  const { performance, setTimeout } = globalThis
  const monotonic = performance.now.bind(performance)
  performance.now = () => monotonic() * haste
  const hasten = (callback: () => void, milliseconds: number) =>
    setTimeout(callback, milliseconds < LONG_WAIT_MILLISECONDS ? milliseconds : HASTY_WAIT_MILLISECONDS)
  globalThis.setTimeout = hasten as typeof setTimeout
}

// ------------------------------------------------------------------------------------------------- the C library

const koffi = createRequire(setting(RECORDER.packageFile))('koffi') as Koffi
const { load } = koffi
let copyFromAddress: NativeFunction | undefined

/** What a vector of one entry names. */
function bytesOfVector(vector: Uint8Array): Uint8Array {
  const words = new BigUint64Array(vector.buffer, vector.byteOffset, 2)
  const bytes = Buffer.alloc(Number(words[1]))
  // Not before: koffi is configured by whoever loads the first library.
  copyFromAddress ??= load(null).func('memcpy', 'uintptr_t', ['void *', 'uintptr_t', 'size_t'])
  copyFromAddress(bytes, Number(words[0]), bytes.length)
  return bytes
}

/** By name: writes down that a call begins; undefined for one that neither changes nor syncs anything. */
const WATCHED_CALLS: Readonly<
  Record<string, (file: number, values: unknown[]) => ((result: number) => void) | undefined>
> = {
  pwritev2(file, values) {
    const [, vector, count, offset, flags] = values as [number, Uint8Array, number, number, number]
    if (count !== 1) throw new Error('a watched file is written with several buffers at once')
    const bytes = bytesOfVector(vector)
    const call = (flags & RWF_DSYNC) === 0 ? CALL.write : CALL.durableWrite
    return begin(call, file, offset, bytes.length, bytes)
  },
  sync_file_range(file, values) {
    const [, offset, length, flags] = values as [number, number, number, number]
    return flags === SYNC_FILE_RANGE_ALL ? begin(CALL.push, file, offset, length, null) : undefined
  },
  fallocate(file, values) {
    const [, mode, offset, length] = values as [number, number, number, number]
    if (mode === 0) return undefined
    const zeroes = [FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE].includes(mode & ~FALLOC_FL_KEEP_SIZE)
    if (!zeroes) throw new Error(`a watched file is changed by fallocate mode ${mode}`)
    return begin(CALL.zeroes, file, offset, length, null)
  },
}

koffi.load = (path) => {
  const library = load(path)
  const func: typeof library.func = (name, result, types) => {
    const native = library.func(name, result, types)
    const watch = WATCHED_CALLS[name]
    if (watch === undefined) return native
    const beginOf = (values: unknown[]): ((result: number) => void) | undefined => {
      const file = fileOf(values[0] as number)
      return file === undefined ? undefined : watch(file, values)
    }
    const now = (...values: unknown[]): number => {
      const end = beginOf(values)
      return end === undefined ? native(...values) : runNow(end, () => native(...values))
    }
    const later = (...values: unknown[]): void => {
      const end = beginOf(values.slice(0, -1))
      if (end === undefined) native.async(...values)
      else runLater(end, values, native.async as never)
    }
    return Object.assign(now, { async: later })
  }
  return { func }
}

/**
 * base/system/: calls of the Linux C library that Node.js does not offer, by koffi. Nothing is loaded before the first call,
 * so that the short-lived command line never pays for it. 64-bit little-endian Linux only (x86-64, arm64: the
 * structures that are packed by hand here have one layout on both).
 *
 * A *system call* here gives what the kernel gives: a result of 0 or more, or a negative errno. The functions of
 * the other files turn that into values and Node-like errors (`error.code` is `EIO` ...), which name call and object.
 */
import { createRequire } from 'node:module'
import { getSystemErrorMap } from 'node:util'

/** A descriptor that this process has open, with the name that messages give it. */
export interface OpenFile {
  readonly fd: number
  readonly path: string
}

export type Argument = number | bigint | Uint8Array | null

/** One function of the C library that returns an integer and sets errno. */
export interface SystemCall<Arguments extends Argument[]> {
  /** Calls it on this thread. */
  now(...values: Arguments): number
  /** The function itself, for paths on which the wrapping would be felt: below 0 for a failure, `lastErrno` says which. */
  bare(): (...values: Arguments) => number
  /** Calls it on a thread of libuv's pool; memory that the values point to stays untouched until it ends. */
  later(...values: Arguments): Promise<number>
}

type NativeCallback = (error: unknown, result: number) => void
type NativeFunction = ((...values: Argument[]) => number) & {
  async: (...values: [...Argument[], NativeCallback]) => void
}
interface Koffi {
  load(path: null): { func(name: string, result: string, types: readonly string[]): NativeFunction }
  config(settings: { max_async_calls: number }): unknown
  errno(): number
  address(memory: Uint8Array): bigint
}

/** Calls in flight at once, per thread; every origin and device bounds its own far below. */
const MAXIMUM_CALLS_IN_FLIGHT = 4096

let loaded: { koffi: Koffi; library: ReturnType<Koffi['load']> } | undefined

function libc(): { koffi: Koffi; library: ReturnType<Koffi['load']> } {
  if (loaded === undefined) {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi
    koffi.config({ max_async_calls: MAXIMUM_CALLS_IN_FLIGHT })
    loaded = { koffi, library: koffi.load(null) }
  }
  return loaded
}

/**
 * Declares a function of the C library; it is looked up at its first call. Variadic functions (fcntl) are declared with the
 * arguments that are used: integers and pointers travel alike on both architectures.
 */
export function systemCall<Arguments extends Argument[]>(
  name: string,
  types: { readonly [Index in keyof Arguments]: string },
  result: 'int' | 'int64' = 'int64',
): SystemCall<Arguments> {
  let native: NativeFunction | undefined
  const resolve = (): NativeFunction => (native ??= libc().library.func(name, result, types))
  return {
    now(...values) {
      const outcome = (native ?? resolve())(...values)
      return outcome < 0 ? -lastErrno() : outcome
    },
    bare: resolve,
    later(...values) {
      return new Promise((settle, reject) => {
        held.add(values)
        try {
          resolve().async(...values, (error: unknown, outcome: number) => {
            held.delete(values)
            // koffi restores the errno of the pool's thread for this callback.
            if (error !== null) reject(error as Error)
            else settle(outcome < 0 ? -lastErrno() : outcome)
          })
        } catch (error) {
          held.delete(values)
          reject(error as Error)
        }
      })
    },
  }
}

/** The arguments of calls in flight: koffi keeps no reference to them, so this keeps their memory from being collected. */
const held = new Set<readonly Argument[]>()

/** errno of the call that just failed on this thread. */
export function lastErrno(): number {
  return libc().koffi.errno()
}

/** A Node-like error: `code` is the name of `errno` (positive), the message names call and object. */
export function systemError(call: string, object: string, errno: number): NodeJS.ErrnoException {
  const [code, text] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error']
  return Object.assign(new Error(`${code}: ${text}, ${call} '${object}'`), { code, errno: -errno, syscall: call })
}

/** `outcome` of a system call, or the error that a negative one stands for. */
export function checked(outcome: number, call: string, object: string): number {
  if (outcome < 0) throw systemError(call, object, -outcome)
  return outcome
}

const addresses = new WeakMap<ArrayBufferLike, number>()
let lastBuffer: ArrayBufferLike | undefined
let lastAddress = 0

/** Where the memory of `view` is; it stays there as long as the view lives. User-space addresses are safe integers. */
export function addressOf(view: Uint8Array): number {
  const { buffer } = view
  if (buffer !== lastBuffer) {
    let address = addresses.get(buffer)
    if (address === undefined) {
      address = Number(libc().koffi.address(new Uint8Array(buffer)))
      addresses.set(buffer, address)
    }
    lastBuffer = buffer
    lastAddress = address
  }
  return lastAddress + view.byteOffset
}

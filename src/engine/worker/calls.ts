/**
 * engine/worker/: the I/O threads. A thread serves some disks, alone: their sockets, logs and origins; the main thread asks it over a
 * message port and hands it free chunks.
 */
import type { MessagePort, Transferable, Worker } from 'node:worker_threads'
import { VmcacheError, messageOf, type ErrorDocument } from '../../base/errors.js'
import { DiskError } from '../disk/served-disk.js'
import { OriginError } from '../origin/origin.js'

type Handlers<Served> = {
  [K in keyof Served]: Served[K] extends (argument: infer A) => infer R ? (argument: A) => Promise<R> | R : never
}

type Message =
  | { readonly kind: 'call'; readonly id: number; readonly name: string; readonly argument: unknown }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: ErrorDocument }

/**
 * Calls in both directions over one message port, in order. `Asked` is what the other side serves, `Served` what this side does. A result
 * that is a Uint8Array is handed over with all of its buffer, not copied.
 */
export class Calls<Asked, Served> {
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  #nextId = 1
  #closed: Error | undefined

  constructor(
    readonly port: MessagePort | Worker,
    readonly handlers: Handlers<Served>,
  ) {
    port.on('message', (message: Message) => void this.#receive(message))
  }

  /** Asks the other side. Errors arrive as VmcacheError, with the errno that they had in their details. */
  call<K extends keyof Asked & string>(
    name: K,
    argument: Asked[K] extends (argument: infer A) => unknown ? A : never,
    transfer: readonly Transferable[] = [],
  ): Promise<Asked[K] extends (argument: never) => infer R ? Awaited<R> : never> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: never) => void, reject })
      this.port.postMessage({ kind: 'call', id, name, argument } satisfies Message, transfer)
    })
  }

  /** The other side is gone: every call fails from now on. */
  close(error: Error): void {
    this.#closed = error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  async #receive(message: Message): Promise<void> {
    if (message.kind === 'call') {
      try {
        const handler = this.handlers[message.name as keyof Served] as (argument: unknown) => unknown
        const value = await handler(message.argument)
        const transfer = value instanceof Uint8Array ? [value.buffer as ArrayBuffer] : []
        this.port.postMessage({ kind: 'result', id: message.id, value } satisfies Message, transfer)
      } catch (error) {
        this.port.postMessage({ kind: 'error', id: message.id, error: documentOf(error) } satisfies Message)
      }
      return
    }
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.kind === 'result') waiting?.resolve(message.value as never)
    else waiting?.reject(VmcacheError.fromDocument(message.error))
  }
}

function documentOf(error: unknown): ErrorDocument {
  if (error instanceof VmcacheError) return error.toDocument()
  const message = messageOf(error)
  if (error instanceof OriginError || error instanceof DiskError) {
    const code = error instanceof OriginError ? error.code : 'FAILED'
    return new VmcacheError(code, message, { details: { errno: error.errno } }).toDocument()
  }
  const stack = error instanceof Error ? error.stack : undefined
  return new VmcacheError('INTERNAL', message, { details: stack === undefined ? {} : { stack } }).toDocument()
}

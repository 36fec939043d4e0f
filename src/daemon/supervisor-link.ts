import { Socket } from 'node:net'
import { assert } from '../base/assert.js'
import { VmcacheError } from '../base/errors.js'
import { receiveDescriptor } from '../base/system-calls.js'
import type { ImageLocks, SocketKeeper } from '../operations/operation.js'
import {
  ENGINE_DESCRIPTORS,
  messageStream,
  type KeeperRequest,
  type StartMessage,
  type ToEngine,
  type ToSupervisor,
} from './supervisor-messages.js'

/** The engine's end of its connection to the supervisor. */
export interface SupervisorLink {
  readonly sockets: SocketKeeper
  readonly locks: ImageLocks
  /** Ends with the supervisor's first message. */
  readonly started: Promise<StartMessage>
  say(message: Exclude<ToSupervisor, { say: 'request' }>): void
  /** Ends the connection after everything was said, then calls `then`. */
  close(then: () => void): void
}

/**
 * Opens the connection over the inherited descriptors. `onStop` is called when the supervisor wants the engine to close;
 * `onGone` when the supervisor has died: locks and sockets went with it, so the engine must end at once.
 */
export function linkToSupervisor(handlers: { onStop: (isLast: boolean) => void; onGone: () => void }): SupervisorLink {
  const channel = new Socket({ fd: ENGINE_DESCRIPTORS.messages, readable: true, writable: true })
  const waiting = new Map<number, { resolve: (descriptor: number | null) => void; reject: (error: Error) => void }>()
  let nextId = 1
  let isClosed = false
  let start: (message: StartMessage) => void = () => undefined
  const started = new Promise<StartMessage>((resolve) => (start = resolve))

  const send = messageStream<ToSupervisor, ToEngine>(channel, (message) => {
    switch (message.say) {
      case 'start':
        return start(message)
      case 'stop':
        return handlers.onStop(message.isLast)
      case 'answer': {
        const request = waiting.get(message.id)
        assert(request !== undefined, `an answer of the supervisor to nothing: ${message.id}`)
        waiting.delete(message.id)
        const descriptor = message.descriptor ? receiveDescriptor(ENGINE_DESCRIPTORS.descriptors) : null
        if (message.error !== null) request.reject(VmcacheError.fromDocument(message.error))
        else request.resolve(descriptor?.descriptor ?? null)
      }
    }
  })
  channel.on('error', () => undefined)
  channel.once('close', () => {
    if (!isClosed) handlers.onGone()
  })

  const ask = (request: KeeperRequest): Promise<number | null> =>
    new Promise((resolve, reject) => {
      const id = nextId++
      waiting.set(id, { resolve, reject })
      send({ say: 'request', id, request })
    })

  return {
    sockets: {
      async listen(path) {
        const descriptor = await ask({ what: 'listen', path })
        assert(descriptor !== null, `no descriptor came for ${path}`)
        return descriptor
      },
      close: async (path) => void (await ask({ what: 'close', path })),
    },
    locks: {
      lock: async (path, disk) => void (await ask({ what: 'lock', path, disk })),
      unlock: async (path) => void (await ask({ what: 'unlock', path })),
    },
    started,
    say: send,
    close(then) {
      isClosed = true
      channel.end(then)
    },
  }
}

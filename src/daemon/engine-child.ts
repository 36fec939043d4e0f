import { spawn } from 'node:child_process'
import { closeSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { messageOf, VmcacheError } from '../base/errors.js'
import { sendDescriptor, socketPair } from '../base/system-calls.js'
import type { EngineChild, EngineExit } from './engine-keeper.js'
import {
  ENGINE_DESCRIPTORS,
  messageStream,
  type KeeperRequest,
  type StartMessage,
  type ToEngine,
  type ToSupervisor,
} from './supervisor-messages.js'

export interface EngineChildOptions {
  readonly start: Omit<StartMessage, 'say'>
  /** Threads of the pool that file calls wait on; fixed for the life of a process. */
  readonly threadPoolSize: number
  /** Open locks that live as long as supervisor or engine does. */
  readonly lockDescriptors: readonly number[]
  /** Does what the engine asks for; the descriptor that it returns is sent along. */
  readonly serve: (request: KeeperRequest) => Promise<number | null>
  readonly onMessage: (message: Exclude<ToSupervisor, { say: 'request' }>) => void
  /** Path of the engine's entry; ours where not given. */
  readonly entry?: string
}

const ENGINE = fileURLToPath(new URL('./engine-main.js', import.meta.url))

/** Starts an engine process: standard output and error are the supervisor's standard error. */
export function spawnEngine(options: EngineChildOptions): EngineChild {
  const [ours, theirs] = socketPair()
  const child = (() => {
    try {
      return spawn(process.execPath, [options.entry ?? ENGINE], {
        stdio: ['ignore', 2, 2, 'pipe', theirs, ...options.lockDescriptors],
        env: { ...process.env, UV_THREADPOOL_SIZE: String(options.threadPoolSize), NOTIFY_SOCKET: undefined },
      })
    } finally {
      closeSync(theirs)
    }
  })()

  const channel = child.stdio[ENGINE_DESCRIPTORS.messages] as Duplex as Socket
  // An engine that dies breaks the channel; how it died is told by its exit.
  channel.on('error', () => undefined)
  let isGone = false
  const send = messageStream<ToEngine, ToSupervisor>(channel, (message) => {
    if (message.say === 'request') void answer(message)
    else options.onMessage(message)
  })

  /** Requests do not wait for each other (a lock may hang with its storage). A descriptor leaves right before its answer. */
  async function answer({ id, request }: Extract<ToSupervisor, { say: 'request' }>): Promise<void> {
    try {
      const descriptor = await options.serve(request)
      if (isGone) return
      if (descriptor !== null) sendDescriptor(ours, descriptor, Buffer.from([1]))
      send({ say: 'answer', id, error: null, descriptor: descriptor !== null })
    } catch (error) {
      const known = error instanceof VmcacheError ? error : new VmcacheError('FAILED', messageOf(error))
      send({ say: 'answer', id, error: known.toDocument(), descriptor: false })
    }
  }

  const exited = new Promise<EngineExit>((resolve) => {
    // `close` is the exit and the end of the channel: its last words have been read.
    child.once('close', (code, signal) => resolve({ code, signal }))
    child.once('error', () => {
      if (child.pid === undefined) resolve({ code: 1, signal: null })
    })
  }).then((exit) => {
    isGone = true
    closeSync(ours)
    channel.destroy()
    return exit
  })
  send({ say: 'start', ...options.start })
  return {
    pid: child.pid ?? null,
    exited,
    stop: (isLast) => send({ say: 'stop', isLast }),
    kill: () => child.kill('SIGKILL'),
  }
}

import type { Socket } from 'node:net'
import type { ErrorDocument } from '../base/errors.js'
import type { PreviousEnd } from '../operations/previous-end.js'

/**
 * What supervisor and engine say to each other: lines of JSON over a socket pair that the engine inherits. Descriptors travel
 * over a second pair; one is sent before the answer that announces it, so the receiver never waits.
 */

/** The first message to an engine. */
export interface StartMessage {
  readonly say: 'start'
  readonly flags: Readonly<Record<string, string>>
  readonly user: boolean
  readonly previousEnd: PreviousEnd
  /** Why the engine is to serve disks without their caches: those before it could not start. Null: it uses them. */
  readonly withoutCaches: string | null
}

/** What an engine asks its supervisor for. */
export type KeeperRequest =
  | { readonly what: 'listen' | 'close' | 'unlock'; readonly path: string }
  | { readonly what: 'lock'; readonly path: string; readonly disk: string }

export type ToEngine =
  | StartMessage
  /** Close everything and exit with 0; where no other engine follows, origins are given what they lack before. */
  | { readonly say: 'stop'; readonly isLast: boolean }
  | { readonly say: 'answer'; readonly id: number; readonly error: ErrorDocument | null; readonly descriptor: boolean }

export type ToSupervisor =
  | { readonly say: 'request'; readonly id: number; readonly request: KeeperRequest }
  /** The state database is open; the caches are opened now. */
  | { readonly say: 'restoring' }
  /** Everything that was attached is served again. */
  | { readonly say: 'running' }
  /** The engine and all its I/O threads answer. */
  | { readonly say: 'alive' }
  /** The engine is about to end: why. */
  | { readonly say: 'failed'; readonly reason: string }
  /** An administrator wants supervisor and engine to end, or another engine. */
  | { readonly say: 'stop-all' }
  | { readonly say: 'replace' }

/** Descriptors that an engine inherits. */
export const ENGINE_DESCRIPTORS = { messages: 3, descriptors: 4, firstLock: 5 } as const

/** A line is never longer: paths are at most 4 KiB. */
const MAXIMUM_LINE_CHARACTERS = 256 * 1024

/** Sends and receives messages over `socket`; what is no message closes it: the other side is broken. */
export function messageStream<Sent extends object, Received>(
  socket: Socket,
  onMessage: (message: Received) => void,
): (message: Sent) => void {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    if (rest.length > MAXIMUM_LINE_CHARACTERS) socket.destroy()
    for (const line of lines) {
      const message = parseLine<Received>(line)
      if (message === null) return void socket.destroy()
      onMessage(message)
    }
  })
  return (message) => {
    if (socket.writable) socket.write(`${JSON.stringify(message)}\n`)
  }
}

function parseLine<Message>(line: string): Message | null {
  try {
    return JSON.parse(line) as Message
  } catch {
    return null
  }
}

import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

/** A connection to QEMU's monitor. */
export interface Monitor {
  /** Runs a command and returns what it returns; throws with QEMU's description where it fails. */
  execute<T = unknown>(command: string, args?: object): Promise<T>
  /** Names of the events seen so far (`STOP`, `BLOCK_IO_ERROR` ...). */
  readonly events: readonly string[]
  close(): void
}

type Message = { return?: unknown; error?: { desc: string }; event?: string; id?: number }

/** Connects to a monitor that listens on a unix socket (QEMU Machine Protocol: a JSON document per line). */
export async function connectMonitor(path: string): Promise<Monitor> {
  const socket: Socket = createConnection(path)
  await once(socket, 'connect')
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  const events: string[] = []
  createInterface(socket).on('line', (line) => {
    const message = JSON.parse(line) as Message
    if (message.event !== undefined) events.push(message.event)
    const caller = waiting.get(message.id ?? -1)
    if (message.error === undefined) caller?.resolve(message.return)
    else caller?.reject(new Error(message.error.desc))
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('QEMU has closed its monitor'))
  })
  let lastId = 0
  const execute = async <T>(command: string, args: object = {}): Promise<T> => {
    const id = ++lastId
    const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }))
    socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    return answer.finally(() => waiting.delete(id)) as Promise<T>
  }
  await execute('qmp_capabilities')
  return { execute, events, close: () => socket.destroy() }
}

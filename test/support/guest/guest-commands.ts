import { once } from 'node:events'
import { createConnection } from 'node:net'
import { createInterface } from 'node:readline'
import { until } from '../processes.js'

/** A shell script that runs in the guest. */
export interface GuestCommand {
  /** Its exit code, and its stdout and stderr together. */
  readonly ended: Promise<{ readonly code: number; readonly output: string }>
  /** Output so far. */
  lines(): readonly string[]
  /** Ends with the first line that fits. */
  waitForLine(pattern: RegExp, timeoutMilliseconds?: number): Promise<string>
}

/** The port over which a guest takes commands. */
export interface GuestCommands {
  /** Ends when the guest takes commands. */
  readonly booted: Promise<void>
  /** `onLine` is called for each line of output as it comes. */
  start(script: string, onLine?: (line: string) => void): GuestCommand
  close(): void
}

/**
 * Connects to the port of a guest, whatever runs it. The guest's end of it is the script in initramfs.ts. `firstId`: of commands, where others
 * run in the guest already.
 */
export async function openCommands(socketPath: string, { firstId = 1 } = {}): Promise<GuestCommands> {
  const socket = createConnection(socketPath)
  await once(socket, 'connect')
  socket.on('error', () => {})
  const running = new Map<number, { onLine(line: string): void; onEnd(code: number): void }>()
  createInterface(socket).on('line', (text) => {
    const [, id, kind, rest] = /^(\d+) ([|=])(.*)$/.exec(text) ?? []
    const command = running.get(Number(id))
    if (kind === '|') command?.onLine(rest!)
    else if (kind === '=') command?.onEnd(Number(rest))
  })

  const register = (id: number, onLine: (line: string) => void): GuestCommand => {
    const lines: string[] = []
    const ended = new Promise<{ code: number; output: string }>((resolve) => {
      running.set(id, {
        onLine(line) {
          lines.push(line)
          onLine(line)
        },
        onEnd(code) {
          running.delete(id)
          resolve({ code, output: lines.join('\n') })
        },
      })
    })
    const waitForLine = (pattern: RegExp, timeoutMilliseconds?: number): Promise<string> =>
      until(`a line of the guest like ${pattern}`, () => lines.find((line) => pattern.test(line)), timeoutMilliseconds)
    return { ended, lines: () => lines, waitForLine }
  }

  let lastId = firstId - 1
  return {
    close: () => void socket.destroy(),
    booted: register(0, () => {}).ended.then(() => {}),
    start(script, onLine = () => {}) {
      const id = ++lastId
      const command = register(id, onLine)
      socket.write(`${id} ${Buffer.from(script).toString('base64')}\n`)
      return command
    },
  }
}

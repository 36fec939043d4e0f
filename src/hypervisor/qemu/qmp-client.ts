/**
 * hypervisor/qemu/: VMs that vmcache runs itself: their QEMU processes are found by their monitors, and outlive the engine.
 */
import { createConnection, type Socket } from 'node:net'
import type { Clock } from '../../base/clock.js'
import { messageOf, systemCode, VmcacheError } from '../../base/errors.js'
import { LineSplitter } from '../../protocol/qmp/line-splitter.js'
import { decodeMessage, encodeCommand, type QmpEvent, type QmpMessage } from '../../protocol/qmp/message.js'

export interface QmpClientOptions {
  /** Path of the monitor's unix socket. A monitor has one client at a time: another one waits for its greeting. */
  readonly path: string
  readonly clock: Clock
  /** For connecting, and for each command that says nothing else. */
  readonly timeoutMilliseconds: number
  /** A connection for commands that must not wait for QEMU's main loop. */
  readonly outOfBand?: boolean
  readonly onEvent?: (event: QmpEvent) => void
}

export interface QmpClient {
  /**
   * What the command returns. HYPERVISOR with QEMU's own words where it fails, where the connection is gone, and with
   * `details.timeout` where no answer came in time: the command may still be carried out.
   */
  execute(command: string, args?: object, options?: { timeoutMilliseconds?: number }): Promise<unknown>
  /** Ends when the connection does, whoever ended it. */
  readonly closed: Promise<void>
  close(): void
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: VmcacheError): void
}

/** Connects to a monitor and makes it take commands. HYPERVISOR where it is not there, hangs, or is no monitor. */
export async function connectQmp(options: QmpClientOptions): Promise<QmpClient> {
  const { path, clock, outOfBand = false, timeoutMilliseconds, onEvent = () => {} } = options
  const socket: Socket = createConnection(path)
  const waiting = new Map<number, Waiting>()
  const lines = new LineSplitter()
  let lastId = 0
  let failure: VmcacheError | null = null
  let greet: (capabilities: readonly string[]) => void
  const greeted = new Promise<readonly string[]>((resolve) => (greet = resolve))
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))

  const receive = (message: QmpMessage): void => {
    if (message.kind === 'greeting') return greet(message.capabilities)
    if (message.kind === 'event') return onEvent(message.event)
    const caller = waiting.get(message.id ?? -1)
    if (message.kind === 'answer') caller?.resolve(message.value)
    else caller?.reject(refusal(message.class, message.description))
  }
  const fail = (error: VmcacheError): void => {
    failure ??= error
    socket.destroy()
  }
  socket.on('data', (bytes) => {
    try {
      for (const line of lines.push(bytes)) receive(decodeMessage(line))
    } catch (error) {
      fail(error instanceof VmcacheError ? error : unreachable(path, error))
    }
  })
  socket.on('error', (error) => fail(unreachable(path, error)))
  void closed.then(() => {
    failure ??= new VmcacheError('HYPERVISOR', `monitor ${path} was closed`)
    for (const { reject } of waiting.values()) reject(failure)
    waiting.clear()
  })

  const inTime = async <Value>(what: string, milliseconds: number, work: Promise<Value>): Promise<Value> => {
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      cancel = clock.after(milliseconds, () => reject(tooLate(path, what, milliseconds)))
    })
    const gone = closed.then(() => Promise.reject(failure!))
    gone.catch(() => {})
    try {
      return await Promise.race([work, late, gone])
    } finally {
      cancel()
    }
  }
  const execute: QmpClient['execute'] = async (command, args, limits = {}) => {
    if (failure !== null) throw failure
    const id = ++lastId
    const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }))
    answer.catch(() => {})
    // The very first command is what turns out-of-band execution on.
    const isOutOfBand = outOfBand && command !== 'qmp_capabilities'
    const given = args === undefined ? {} : { arguments: args }
    socket.write(encodeCommand({ id, command, ...given, outOfBand: isOutOfBand }))
    try {
      return await inTime(command, limits.timeoutMilliseconds ?? timeoutMilliseconds, answer)
    } finally {
      waiting.delete(id)
    }
  }

  try {
    const capabilities = await inTime('greeting', timeoutMilliseconds, greeted)
    if (outOfBand && !capabilities.includes('oob')) {
      throw new VmcacheError('HYPERVISOR', `monitor ${path} takes no commands out of band`)
    }
    await execute('qmp_capabilities', outOfBand ? { enable: ['oob'] } : {})
  } catch (error) {
    socket.destroy()
    throw error
  }
  return { execute, closed, close: () => socket.destroy() }
}

function refusal(errorClass: string, description: string): VmcacheError {
  return new VmcacheError('HYPERVISOR', `QEMU refuses: ${description}`, { details: { class: errorClass } })
}

function unreachable(path: string, error: unknown): VmcacheError {
  if (systemCode(error) === 'EACCES') {
    return new VmcacheError('DENIED', `monitor ${path} may not be used by the engine`, { cause: error })
  }
  return new VmcacheError('HYPERVISOR', `monitor ${path} cannot be reached: ${messageOf(error)}`, {
    details: { systemCode: systemCode(error) ?? null },
    cause: error,
  })
}

function tooLate(path: string, what: string, milliseconds: number): VmcacheError {
  return new VmcacheError('HYPERVISOR', `monitor ${path} does not answer ${what} within ${milliseconds / 1000} s`, {
    hint: 'its VM may wait for storage that does not answer',
    details: { timeout: true },
  })
}

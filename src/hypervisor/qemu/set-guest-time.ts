import { createConnection } from 'node:net'
import { messageOf, VmcacheError } from '../../base/errors.js'

/** Before it, an agent forgets whatever came before (qga/qapi-schema.json of QEMU: guest-sync-delimited). */
const DELIMITER = 0xff

export interface AgentCall {
  /** Milliseconds since 1970, when it is asked. */
  readonly now: () => number
  /** Names the conversation, so that no answer to somebody before us is taken for one to us; below 2^31. */
  readonly id: number
  readonly signal: AbortSignal
}

/** Has the guest agent at a unix socket set the clock of its guest. HYPERVISOR where it does not: with its words, or because nobody answers. */
export async function setGuestTime(path: string, { now, id, signal }: AgentCall): Promise<void> {
  const socket = createConnection({ path, signal })
  try {
    socket.write(Buffer.concat([Buffer.of(DELIMITER), command('guest-sync-delimited', `{"id":${id}}`)]))
    let isOurs = false
    for await (const line of linesOf(socket)) {
      const answer = answerIn(line)
      if (answer?.error !== undefined) throw failed(answer.error.desc ?? 'no reason given')
      if (isOurs && answer !== null) return
      if (!isOurs && answer?.return === id) {
        isOurs = true
        // Nanoseconds are more than a number of JavaScript holds.
        socket.write(command('guest-set-time', `{"time":${Math.floor(now())}000000}`))
      }
    }
    throw failed('its connection was closed')
  } catch (error) {
    if (error instanceof VmcacheError) throw error
    throw failed(signal.aborted ? 'it does not answer in time' : messageOf(error), error)
  } finally {
    socket.destroy()
  }
}

interface Answer {
  readonly return?: unknown
  readonly error?: { readonly desc?: string }
}

/** Null for what is none: an agent may have been cut off in the middle of one. */
function answerIn(line: string): Answer | null {
  try {
    const value = JSON.parse(line) as unknown
    return typeof value === 'object' && value !== null ? value : null
  } catch {
    return null
  }
}

/** What comes in, cut where an answer begins or ends. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + chunk.toString('latin1')).split(/[\n\xff]/)
    rest = lines.pop()!
    yield* lines.filter((line) => line.trim() !== '')
  }
}

function command(name: string, args: string): Buffer {
  return Buffer.from(`{"execute":"${name}","arguments":${args}}\n`)
}

function failed(why: string, cause?: unknown): VmcacheError {
  return new VmcacheError('HYPERVISOR', `the agent of the guest does not set its clock: ${why}`, { cause })
}

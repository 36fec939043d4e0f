import { connectSimpleNbd, type SimpleNbdClient } from '../support/simple-nbd-client.js'
import { percentile, type Client, type Records } from './measurement.js'
import { FILE_SYSTEM_BYTES, IMAGE_BYTES } from './storage.js'

const REQUEST_BYTES = 32 * 1024
const IN_FLIGHT = 2
const RECORD_BYTES = 512
const RECORD_SLOTS = (IMAGE_BYTES - FILE_SYSTEM_BYTES) / RECORD_BYTES

/** An NBD client in this process, where no guest can run. */
export async function builtInClient(sockets: { cached: string; direct: string }): Promise<Client> {
  let cached = await connectSimpleNbd(sockets.cached)
  const direct = await connectSimpleNbd(sockets.direct)

  const writeRecord = async (number: number): Promise<void> => {
    const record = Buffer.from(`${number}\n`.padStart(RECORD_BYTES))
    for (;;) {
      try {
        await cached.write(FILE_SYSTEM_BYTES + (number % RECORD_SLOTS) * RECORD_BYTES, record)
        return await cached.flush()
      } catch {
        cached = await reconnect(sockets.cached)
      }
    }
  }

  return {
    description: `a built-in NBD client that reads the whole disk in requests of ${REQUEST_BYTES / 1024} KiB, in no order, ${IN_FLIGHT} in flight`,

    async readAll(path) {
      const client = path === 'cached' ? cached : direct
      const offsets = shuffled(FILE_SYSTEM_BYTES / REQUEST_BYTES).map((index) => index * REQUEST_BYTES)
      const microseconds: number[] = []
      const begun = performance.now()
      const worker = async (): Promise<void> => {
        for (let offset = offsets.pop(); offset !== undefined; offset = offsets.pop()) {
          const asked = performance.now()
          await client.read(offset, REQUEST_BYTES)
          microseconds.push((performance.now() - asked) * 1000)
        }
      }
      await Promise.all(Array.from({ length: IN_FLIGHT }, worker))
      const seconds = (performance.now() - begun) / 1000
      microseconds.sort((a, b) => a - b)
      return {
        requests: microseconds.length,
        bytes: microseconds.length * REQUEST_BYTES,
        seconds,
        p50Microseconds: percentile(microseconds, 0.5),
        p99Microseconds: percentile(microseconds, 0.99),
      }
    },

    async writeRecords() {
      let enough = false
      const writtenAt: number[] = []
      const write = async (): Promise<void> => {
        for (let number = 0; !enough; number++) {
          await writeRecord(number)
          writtenAt.push(performance.now())
        }
      }
      const writer = write()
      await Promise.race([writer, new Promise((resolve) => setTimeout(resolve, 500))])
      return async (): Promise<Records> => {
        enough = true
        await writer
        let lost = 0
        const last = writtenAt.length - 1
        for (let number = Math.max(0, last - RECORD_SLOTS + 1); number <= last; number++) {
          const bytes = await cached.read(FILE_SYSTEM_BYTES + (number % RECORD_SLOTS) * RECORD_BYTES, RECORD_BYTES)
          if (Number(bytes.toString()) !== number) lost++
        }
        return {
          written: writtenAt.length,
          lost,
          longestPauseMilliseconds: Math.max(...writtenAt.slice(1).map((at, index) => at - writtenAt[index]!)),
        }
      }
    },

    async close() {
      await Promise.all([cached.close(), direct.close()])
    },
  }
}

async function reconnect(socket: string): Promise<SimpleNbdClient> {
  for (;;) {
    try {
      return await connectSimpleNbd(socket)
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

/** The numbers below `count` in an order that is the same in every run. */
function shuffled(count: number): number[] {
  const numbers = Array.from({ length: count }, (_, index) => index)
  let state = 1
  for (let index = count - 1; index > 0; index--) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    const other = state % (index + 1)
    ;[numbers[index], numbers[other]] = [numbers[other]!, numbers[index]!]
  }
  return numbers
}

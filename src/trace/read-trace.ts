import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { VmcacheError, messageOf, systemCode } from '../base/errors.js'

/** First line of every trace. */
export const TRACE_HEADER = 'time_us,op,offset_bytes,length_bytes'

export interface TraceRequest {
  readonly timeMicroseconds: number | null
  readonly write: boolean
  readonly offset: number
  /** At least 1. */
  readonly length: number
}

const LINE = /^([0-9]*),([RW]),([0-9]+),([0-9]+)$/
const LONGEST_LINE = 80
/** The longest request of any protocol: a length is 32 bits. */
const LONGEST_REQUEST_BYTES = 2 ** 32

/**
 * The requests of a trace, in batches as they are read: its size does not matter. NOT_FOUND where the file is missing; CORRUPT,
 * with the number of the line, where it is not a trace.
 */
export async function* readTrace(path: string): AsyncGenerator<TraceRequest[]> {
  let rest = ''
  let line = 0
  for await (const text of decompressed(path)) {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    if (rest.length > LONGEST_LINE) throw badLine(path, line + lines.length + 1, rest)
    const requests: TraceRequest[] = []
    for (const content of lines)
      if (++line > 1) requests.push(requestOf(path, line, content))
      else checkHeader(path, content)
    yield requests
  }
  if (line === 0) checkHeader(path, rest)
  else if (rest !== '') yield [requestOf(path, line + 1, rest)]
}

async function* decompressed(path: string): AsyncGenerator<string> {
  // The callback only keeps pipeline from throwing elsewhere: errors come out of the loop.
  const unzip = pipeline(createReadStream(path), createGunzip(), () => {}).setEncoding('latin1')
  try {
    for await (const text of unzip) yield text as string
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT') throw new VmcacheError('NOT_FOUND', `trace ${path} does not exist`, { cause: error })
    if (code?.startsWith('Z_')) {
      throw new VmcacheError('CORRUPT', `trace ${path} is not whole gzip data: ${messageOf(error)}`, { cause: error })
    }
    throw new VmcacheError('FAILED', `trace ${path} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

function checkHeader(path: string, seen: string): void {
  if (seen.replace(/\r$/, '') !== TRACE_HEADER) throw badLine(path, 1, seen, TRACE_HEADER)
}

function requestOf(path: string, line: number, content: string): TraceRequest {
  const match = LINE.exec(content.endsWith('\r') ? content.slice(0, -1) : content)
  if (match === null) throw badLine(path, line, content)
  const [offset, length] = [Number(match[3]), Number(match[4])]
  if (!Number.isSafeInteger(offset + length)) throw badLine(path, line, content, 'an offset below 2^53')
  if (length < 1 || length > LONGEST_REQUEST_BYTES) throw badLine(path, line, content, 'a length from 1 byte to 4 GiB')
  return { timeMicroseconds: match[1] === '' ? null : Number(match[1]), write: match[2] === 'W', offset, length }
}

function badLine(
  path: string,
  line: number,
  seen: string,
  expected = `${TRACE_HEADER} with R or W and whole numbers`,
): VmcacheError {
  const shown = JSON.stringify(seen.length > LONGEST_LINE ? `${seen.slice(0, LONGEST_LINE)}...` : seen)
  return new VmcacheError('CORRUPT', `trace ${path}, line ${line}: ${shown}, expected ${expected}`, {
    details: { path, line },
  })
}

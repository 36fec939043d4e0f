import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { SeededRandom } from '../../../src/base/random.js'
import { loadAccesses } from '../../../src/trace/page-accesses.js'
import { TRACE_HEADER, type TraceRequest, readTrace } from '../../../src/trace/read-trace.js'

const directory = mkdtempSync(join(tmpdir(), 'vmcache-trace-'))
afterAll(() => rmSync(directory, { recursive: true }))
let files = 0

function traceFile(...lines: string[]): string {
  return rawFile(gzipSync(`${lines.join('\n')}\n`))
}

function rawFile(bytes: Buffer): string {
  const path = join(directory, `${files++}.csv.gz`)
  writeFileSync(path, bytes)
  return path
}

async function readAll(path: string): Promise<TraceRequest[]> {
  const requests: TraceRequest[] = []
  for await (const batch of readTrace(path)) requests.push(...batch)
  return requests
}

describe('readTrace', () => {
  it('reads requests in order, with and without times, line feed at the end or not', async () => {
    const expected = [
      { timeMicroseconds: 0, write: false, offset: 0, length: 512 },
      { timeMicroseconds: null, write: true, offset: 2 ** 40, length: 2 ** 32 },
    ]
    const lines = [TRACE_HEADER, '0,R,0,512', `,W,${2 ** 40},${2 ** 32}`]
    expect(await readAll(traceFile(...lines))).toEqual(expected)
    expect(await readAll(rawFile(gzipSync(lines.join('\n'))))).toEqual(expected)
    expect(await readAll(traceFile(...lines.map((line) => `${line}\r`)))).toEqual(expected)
    expect(await readAll(traceFile(TRACE_HEADER))).toEqual([])
  })

  it('reads a long trace the same as it was written', async () => {
    const random = new SeededRandom(1)
    const requests = Array.from({ length: 30_000 }, (_, index) => ({
      timeMicroseconds: index,
      write: random.below(2) === 1,
      offset: random.below(2 ** 40),
      length: 1 + random.below(1e6),
    }))
    const lines = requests.map((r) => `${r.timeMicroseconds},${r.write ? 'W' : 'R'},${r.offset},${r.length}`)
    expect(await readAll(traceFile(TRACE_HEADER, ...lines))).toEqual(requests)
  })

  const bad: [string, string[], string][] = [
    ['an unknown operation', ['0,R,0,512', '0,X,0,512'], 'line 3: "0,X,0,512", expected'],
    ['a missing column', ['0,R,0'], 'line 2: "0,R,0", expected'],
    ['a negative number', ['0,R,-1,512'], 'line 2: "0,R,-1,512", expected'],
    ['an empty line', ['0,R,0,512', '', '0,R,0,512'], 'line 3: "", expected'],
    ['a length of 0', ['0,R,0,0'], 'line 2: "0,R,0,0", expected a length from 1 byte to 4 GiB'],
    ['a huge length', ['0,R,0,4294967297'], 'line 2: "0,R,0,4294967297", expected a length from 1 byte to 4 GiB'],
    ['a huge offset', ['0,R,9007199254740991,512'], 'expected an offset below 2^53'],
    ['a huge line', ['0,R,0,512', '9'.repeat(1_000_000)], `line 3: "${'9'.repeat(80)}...", expected`],
  ]
  it.each(bad)('refuses %s with its line', async (_what, lines, message) => {
    const path = traceFile(TRACE_HEADER, ...lines)
    const error = (await readAll(path).catch((error: unknown) => error)) as Error
    expect(error).toMatchObject({ code: 'CORRUPT', exit: 1 })
    expect(error.message).toContain(`trace ${path}`)
    expect(error.message).toContain(message)
  })

  it('refuses what is not a trace, cut short, or missing', async () => {
    await expect(readAll(traceFile('a,b,c'))).rejects.toThrow(`line 1: "a,b,c", expected ${TRACE_HEADER}`)
    await expect(readAll(rawFile(gzipSync('')))).rejects.toThrow('line 1: "", expected')
    await expect(readAll(rawFile(Buffer.from('0,R,0,512\n')))).rejects.toMatchObject({ code: 'CORRUPT' })
    const whole = gzipSync(`${TRACE_HEADER}\n${'0,R,0,512\n'.repeat(1000)}`)
    await expect(readAll(rawFile(whole.subarray(0, whole.length - 9)))).rejects.toMatchObject({ code: 'CORRUPT' })
    await expect(readAll(join(directory, 'missing'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(readAll(directory)).rejects.toMatchObject({ code: 'FAILED' })
  })
})

describe('loadAccesses', () => {
  it('splits requests into the pages that they touch', async () => {
    const { pages, writes, uniquePages } = await loadAccesses(
      traceFile(TRACE_HEADER, '0,R,0,512', '0,W,4095,2', '0,R,8192,4096', `0,W,${2 ** 44 - 1},1`),
    )
    expect([...pages]).toEqual([0, 0, 1, 2, 2 ** 32 - 1])
    expect([...writes]).toEqual([0, 1, 1, 0, 1])
    expect(uniquePages).toBe(4)
  })

  it('refuses what lies beyond the largest disk', async () => {
    await expect(loadAccesses(traceFile(TRACE_HEADER, `0,R,${2 ** 44},512`))).rejects.toMatchObject({ code: 'CORRUPT' })
  })

  it('holds more accesses than it first has room for', async () => {
    const { pages, writes } = await loadAccesses(traceFile(TRACE_HEADER, '0,W,0,1073741824', '0,R,4096,1'))
    expect(pages.length).toBe(262_145)
    expect([pages[262_143], writes[262_143], pages[262_144], writes[262_144]]).toEqual([262_143, 1, 1, 0])
  })
})

/**
 * What a neighbour that thrashes costs a disk: its hits beside one that reads all of a large disk at random, over and over, with and without a min
 * that its pages fit into. Both have the same shares.
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/isolation.js [--rounds 5] [--seconds 20]
 *
 * Of one round: hits alone, hits beside the neighbour. The bar: at most 5 % of its hits within its min (median of the rounds).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { SeededRandom } from '../../src/base/random.js'
import type { DiskDocument, StatsDocument } from '../../src/protocol/control/documents.js'
import { commandLine } from '../support/command-line.js'
import { must } from '../support/processes.js'
import { connectSimpleNbd, type SimpleNbdClient } from '../support/simple-nbd-client.js'
import { bar } from './case.js'

const MEBIBYTE = 1024 ** 2
const PAGE = 4096
/** Of a cache of 256 MiB in chunks of 2 MiB: more than half. */
const MIN = '190m'
/** What the disk reads again and again: it fits into its min, and not into half of the cache. */
const HOT_BYTES = 150 * MEBIBYTE
const DISK_BYTES = 4096 * MEBIBYTE
const IN_FLIGHT = 16
const MOST_LOST = 0.05

const { values: options } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '20' } },
})
const random = new SeededRandom(1)
const lost: Record<'min' | 'shares', number[]> = { min: [], shares: [] }
for (let round = 0; round < Number(options.rounds); round++) {
  for (const kind of ['min', 'shares'] as const) lost[kind].push(await measure(kind === 'min' ? ['--min', MIN] : []))
}
for (const kind of ['shares', 'min'] as const) {
  const sorted = lost[kind].toSorted((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]!
  const name = kind === 'min' ? 'hits lost within its min' : 'hits lost without a min'
  if (kind === 'min') bar(name, median * 100, median <= MOST_LOST, '%', `at most ${MOST_LOST * 100} %`)
  else process.stdout.write(`       ${name}: ${(median * 100).toFixed(2)} %\n`)
}

/** The part of its hits that a disk loses to its neighbour. */
async function measure(settings: readonly string[]): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-isolation-'))
  const cli = commandLine(process.cwd(), directory, () => {})
  try {
    const device = `${join(directory, 'ssd.img')},size=258m`
    await cli.ask('cache', 'create', 'fast', '--chunk-size', '2m', '--device', device)
    const clients = new Map<string, SimpleNbdClient>()
    for (const name of ['quiet', 'loud']) {
      const origin = join(directory, `${name}.img`)
      await must('truncate', ['-s', String(DISK_BYTES), origin])
      const own = name === 'quiet' ? settings : []
      const attach = ['cache', 'attach', 'fast', origin, '--name', name, ...own]
      const { disk } = await cli.ask<{ disk: DiskDocument }>(...attach)
      clients.set(name, await connectSimpleNbd(disk.socket))
    }
    const hits = async (): Promise<number> => {
      const begun = await readHits('quiet')
      await readFor(clients.get('quiet')!, HOT_BYTES)
      const ended = await readHits('quiet')
      return (ended.hits - begun.hits) / (ended.reads - begun.reads)
    }
    // Warm, and read more than once.
    for (let lap = 0; lap < 3; lap++) await readAll(clients.get('quiet')!)
    const alone = await hits()
    let isOver = false
    const noise = (async () => {
      while (!isOver) await readFor(clients.get('loud')!, DISK_BYTES, 1)
    })()
    await new Promise((resolve) => setTimeout(resolve, Number(options.seconds) * 1000))
    const beside = await hits()
    isOver = true
    await noise
    for (const client of clients.values()) await client.close()
    const { disks } = await cli.ask<StatsDocument>('stats', 'loud', '--window', 'all')
    const shown = await Promise.all(['quiet', 'loud'].map((name) => cli.ask<DiskDocument>('disk', 'show', name)))
    const [quiet, loud] = shown.map(({ allocatedBytes }) => `${allocatedBytes / MEBIBYTE} MiB`)
    process.stdout.write(
      `  ${settings.join(' ') || 'no min'}: hits ${alone.toFixed(4)} alone, ${beside.toFixed(4)} beside it; ` +
        `it has ${quiet}, the neighbour ${loud} (${disks[0]!.reads} reads, ${disks[0]!.evictions} pages evicted)\n`,
    )
    return 1 - beside / alone

    async function readHits(name: string): Promise<{ reads: number; hits: number }> {
      const { disks } = await cli.ask<StatsDocument>('stats', name, '--window', 'all')
      return { reads: disks[0]!.reads, hits: disks[0]!.readHits }
    }
  } finally {
    await cli.ask('engine', 'stop', '--force').catch(() => undefined)
    await rm(directory, { recursive: true, force: true })
  }
}

/** Reads pages at random below `bytes`, for so long. */
async function readFor(client: SimpleNbdClient, bytes: number, seconds = Number(options.seconds)): Promise<void> {
  const end = performance.now() + seconds * 1000
  const reader = async (): Promise<void> => {
    while (performance.now() < end) await client.read(random.below(bytes / PAGE) * PAGE, PAGE)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, reader))
}

/** Reads each hot page, in an order that no read-ahead takes for a stream. */
async function readAll(client: SimpleNbdClient): Promise<void> {
  const pages = HOT_BYTES / PAGE
  let next = 0
  const reader = async (): Promise<void> => {
    for (let index = next++; index < pages; index = next++) await client.read(((index * 7919) % pages) * PAGE, PAGE)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, reader))
}

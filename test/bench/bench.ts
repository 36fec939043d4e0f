/**
 * test/bench/: how fast vmcache is beside nbdkit's `file` plugin and qemu-nbd, all on one file in the page cache,
 * alternating in one run, under fio's NBD engine. `npm run bench` builds and runs it.
 *
 *   npm run bench -- [--rounds N] [--seconds N] [--json FILE]
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commandLine } from '../support/command-line.js'
import { must, Processes } from '../support/processes.js'
import { findProgram } from '../support/programs.js'
import { bar, runCase, type Case } from './case.js'
import { median } from './compare.js'
import { fio, type Load } from './fio.js'
import { attach, foreignServers, type Server } from './servers.js'

const MEBIBYTE = 1024 * 1024
const DISK_BYTES = 256 * MEBIBYTE
const CACHE = 'bench'
const STARTS = 11

interface CacheShow {
  indexBytes: number
}
interface DiskShow {
  cachedBytes: number
}

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)
const root = process.cwd()

for (const program of ['fio', 'nbdkit', 'qemu-nbd']) {
  if (findProgram(program) === null) throw new Error(`the benchmark needs ${program}, which is not installed`)
}
const directory = await mkdtemp(join(tmpdir(), 'vmcache-bench-'))
const processes = new Processes()
const cli = commandLine(root, directory, () => {})
try {
  const report = await run()
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(report, null, 2)}\n`)
} finally {
  await cli.ask('engine', 'stop').catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  await processes.stopAll()
  await rm(directory, { recursive: true, force: true })
}

async function run(): Promise<object> {
  const foreign = await foreignServers(processes, directory, await makeImage('foreign.img'))
  await cli.ask('cache', 'create', CACHE, '--device', `${join(directory, 'ssd.img')},size=1g`)
  const warm = await attach(cli, CACHE, await makeImage('warm.img'), 'warm', 'write-through')
  const cold = await attach(cli, CACHE, await makeImage('cold.img'), 'cold', 'write-through')
  const through = await attach(cli, CACHE, await makeImage('pass.img'), 'pass', 'pass-through')
  const whole: Load = { rw: 'randread', blockBytes: 64 * 1024, depth: 8, once: true, sizeBytes: DISK_BYTES, seconds: 0 }
  await fio(warm.uri, whole)
  const memory = await memoryPerPage()

  const hits = [...foreign, { ...warm, name: 'vmcache, cached' }]
  const misses: Server = {
    ...cold,
    name: 'vmcache, misses',
    prepare: async () => void (await cli.ask('disk', 'invalidate', 'cold')),
  }
  const against = { of: 'vmcache, cached', against: 'nbdkit file' }
  const behind = { against: 'vmcache pass-through', least: 0.9 }
  const reads = { rw: 'randread', blockBytes: 4096, sizeBytes: DISK_BYTES, seconds } as const
  const cases: Case[] = [
    { name: '4 KiB reads, QD32', servers: hits, load: { ...reads, depth: 32 }, bars: [{ ...against, least: 1 }] },
    { name: '4 KiB reads, QD1', servers: hits, load: { ...reads, depth: 1 }, bars: [{ ...against, least: 0.85 }] },
    {
      name: '1 MiB reads, QD4',
      servers: hits,
      load: { ...reads, blockBytes: MEBIBYTE, depth: 4 },
      bars: [{ ...against, least: 0.8 }],
    },
    {
      name: '4 KiB writes, QD32',
      servers: [...foreign, through, warm],
      load: { ...reads, rw: 'randwrite', depth: 32 },
      bars: [{ of: warm.name, ...behind }],
    },
    {
      name: '4 KiB misses, QD32, every page once',
      servers: [through, misses],
      load: { ...reads, depth: 32, once: true },
      bars: [{ of: misses.name, ...behind }],
    },
  ]
  const results = []
  for (const one of cases) results.push(await runCase(one, rounds))
  const start = await startMilliseconds()
  process.stdout.write(
    `\nstart-up (median of ${STARTS}): node -e 0 ${start.node.toFixed(0)} ms, vmcache cache list --json ` +
      `${start.command.toFixed(0)} ms, ${(start.command / start.node).toFixed(2)} times as long\n`,
  )
  bar('memory per cached page', memory, memory <= 20, 'bytes', 'at most 20')
  bar('vmcache cache list --json', start.command, start.command <= 200, 'ms', 'at most 200')
  return { rounds, seconds, results, bytesPerCachedPage: memory, startMilliseconds: start }
}

/** Random data, in the page cache. */
async function makeImage(name: string): Promise<string> {
  const image = join(directory, name)
  await must('sh', ['-c', `head -c ${DISK_BYTES} /dev/urandom > ${image} && cat ${image} > /dev/null`])
  return image
}

/** Index of the cache over pages in it. */
async function memoryPerPage(): Promise<number> {
  const { cachedBytes } = await cli.ask<DiskShow>('disk', 'show', 'warm')
  const { indexBytes } = await cli.ask<CacheShow>('cache', 'show', CACHE)
  return indexBytes / (cachedBytes / 4096)
}

/** Median times of the command and of Node.js alone, in turns, from the shell's view. */
async function startMilliseconds(): Promise<{ command: number; node: number }> {
  const command: number[] = []
  const node: number[] = []
  for (let start = 0; start < STARTS; start++) {
    node.push(await milliseconds(() => must(process.execPath, ['-e', '0'])))
    command.push(await milliseconds(() => cli.ask('cache', 'list')))
  }
  return { command: median(command), node: median(node) }
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

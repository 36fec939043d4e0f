/**
 * How fast write-back is beside nbdkit without a cache, with nbdkit's cache filter, and beside the slow origin that it hides, alternating in
 * one run, under fio's NBD engine.
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/write-back.js [--rounds N] [--seconds N] [--json FILE]
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { StatsDocument } from '../../src/protocol/control/documents.js'
import { commandLine } from '../support/command-line.js'
import { must, Processes } from '../support/processes.js'
import { findProgram } from '../support/programs.js'
import { bar, runCase, type Case } from './case.js'
import { fio, type Load } from './fio.js'
import { attach, startNbdkit, type Server } from './servers.js'

const MEBIBYTE = 1024 * 1024
const DISK_BYTES = 256 * MEBIBYTE
const CACHE = 'bench'
/** Bytes that go to the device for each that was accepted, relocation apart. */
const MOST_WRITTEN = 1.15

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)

for (const program of ['fio', 'nbdkit']) {
  if (findProgram(program) === null) throw new Error(`the benchmark needs ${program}, which is not installed`)
}
const directory = await mkdtemp(join(tmpdir(), 'vmcache-bench-'))
const processes = new Processes()
const cli = commandLine(process.cwd(), directory, () => {})
try {
  const results = await run()
  if (options.json !== undefined)
    await writeFile(options.json, `${JSON.stringify({ rounds, seconds, results }, null, 2)}\n`)
} finally {
  await cli.ask('engine', 'stop', '--force').catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  await processes.stopAll()
  await rm(directory, { recursive: true, force: true })
}

async function run(): Promise<object[]> {
  const nbdkit = (name: string, ...args: string[]): Promise<Server> => startNbdkit(processes, directory, name, args)
  const file = await nbdkit('nbdkit file', 'file', await makeImage('file.img'))
  const other = await nbdkit('another nbdkit', 'file', await makeImage('other-file.img'))
  const filter = await nbdkit('nbdkit cache', '--filter=cache', 'file', await makeImage('filter.img'))
  const slow = ['--filter=delay', 'file', 'rdelay=2ms', 'wdelay=2ms']
  const origin = await nbdkit('nbdkit delay', ...slow, await makeImage('origin.img'))
  const behind = await nbdkit('nbdkit behind', ...slow, await makeImage('behind.img'))

  await cli.ask('cache', 'create', CACHE, '--device', `${join(directory, 'ssd.img')},size=3g`)
  const servers = [
    await attach(cli, CACHE, await makeImage('fast.img'), 'fast', 'write-back'),
    await attach(cli, CACHE, await makeImage('beside.img'), 'beside', 'write-back'),
    await attach(cli, CACHE, behind.uri, 'cached', 'write-back', '--exclusive'),
  ] as const
  // What an earlier run left dirty goes to the origin before the next one, not beside it.
  const settled = (name: string): Pick<Server, 'prepare'> => ({
    prepare: async () => void (await cli.ask('disk', 'flush', name)),
  })
  const [fast, beside, cached] = [
    { ...servers[0], ...settled('fast') },
    { ...servers[1], ...settled('beside') },
    { ...servers[2], ...settled('cached') },
  ]
  const load = { blockBytes: 4096, sizeBytes: DISK_BYTES, seconds } as const
  const writes: Load = { ...load, rw: 'randwrite', depth: 32 }
  const flushes: Load = { ...load, rw: 'randwrite', depth: 1, writesPerFlush: 1 }
  const mixed: Load = { ...load, rw: 'randrw', readPercent: 70, zipf: 1.1, depth: 4 }
  // The cache has all of it, as after a while of such a load.
  await fio(cached.uri, { ...load, rw: 'randread', blockBytes: 64 * 1024, depth: 16, once: true })

  const against = { of: fast.name, against: file.name }
  const hidden = { of: cached.name, against: origin.name }
  const bars = [
    { ...hidden, least: 5 },
    { ...hidden, by: 'response', least: 10 },
  ] as const
  const cases: Case[] = [
    {
      name: '4 KiB writes, QD32',
      servers: [file, filter, fast],
      load: writes,
      bars: [
        { ...against, least: 2 },
        { ...against, against: filter.name, least: 2 },
      ],
    },
    { name: '4 KiB write and flush, QD1', servers: [file, fast], load: flushes, bars: [{ ...against, least: 0.75 }] },
    {
      name: '4 KiB write and flush, QD1, while another disk writes at full speed',
      servers: [besides(file, other, writes), besides(fast, beside, writes)],
      load: flushes,
      bars: [{ ...against, least: 0.75 }],
    },
    { name: 'zipf, 70 % reads, QD4, behind 2 ms', servers: [origin, cached], load: mixed, bars },
    {
      name: 'zipf, 70 % reads, QD4, a flush after 16 writes, behind 2 ms',
      servers: [origin, cached],
      load: { ...mixed, writesPerFlush: 16 },
      bars,
    },
  ]
  const results: object[] = []
  for (const one of cases) {
    results.push(await runCase(one, rounds))
    if (one.load === writes) results.push(await writtenPerByte())
  }
  return results
}

/** The same server, with a load on another one for as long as its own runs. */
function besides(server: Server, other: Server, load: Load): Server {
  return {
    ...server,
    async prepare() {
      await server.prepare?.()
      // Ends a little after the measurement that it is beside.
      void fio(other.uri, { ...load, seconds: seconds + 1 }).catch((error: unknown) =>
        process.stderr.write(`${String(error)}\n`),
      )
      await new Promise((resolve) => setTimeout(resolve, 500))
    },
    settle: () => new Promise((resolve) => setTimeout(resolve, 2000)),
  }
}

async function writtenPerByte(): Promise<object> {
  const { disks } = await cli.ask<StatsDocument>('stats', 'fast', '--window', 'all')
  const { deviceBytesPerByte, relocatedBytesPerByte } = disks[0]!
  const written = deviceBytesPerByte! - relocatedBytesPerByte!
  bar(
    'bytes written to the cache device per byte accepted',
    written,
    written <= MOST_WRITTEN,
    '',
    `at most ${MOST_WRITTEN}`,
  )
  return { name: 'bytes written per byte', written, relocatedBytesPerByte }
}

/** Random data, in the page cache. */
async function makeImage(name: string): Promise<string> {
  const image = join(directory, name)
  await must('sh', ['-c', `head -c ${DISK_BYTES} /dev/urandom > ${image} && cat ${image} > /dev/null`])
  return image
}

/**
 * How long a guest waits for the next answer after its engine was killed, by what is dirty and by what is clean in the cache (S1).
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/restart.js [--cache 10g] [--steps 0,1,2,4] [--clean 3]
 *
 * The steps are GiB that are dirty; then as much is clean as `--clean` says, in GiB, with nothing dirty, and the largest step beside it.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { DiskDocument } from '../../src/protocol/control/documents.js'
import { readSupervisorStatus } from '../../src/protocol/control/supervisor-status.js'
import { commandLine } from '../support/command-line.js'
import { must, run, until } from '../support/processes.js'
import { connectSimpleNbd } from '../support/simple-nbd-client.js'

const GIBIBYTE = 1024 ** 3
const MEBIBYTE = 1024 ** 2
const KILLS = 2
/** A supervisor starts the next engine at once where the last one ran so long. */
const GOOD_MILLISECONDS = 31_000

const { values: options } = parseArgs({
  options: {
    cache: { type: 'string', default: '10g' },
    steps: { type: 'string', default: '0,1,2,4' },
    clean: { type: 'string', default: '3' },
  },
})
const steps = options.steps.split(',').map(Number)
const clean = Number(options.clean)
const directory = await mkdtemp(join(tmpdir(), 'vmcache-restart-'))
const cli = commandLine(process.cwd(), directory, () => {})
try {
  await measure()
} finally {
  await cli.ask('cache', 'detach', 'disk', '--discard-dirty', '--yes').catch(() => undefined)
  await cli.ask('engine', 'stop', '--force').catch((error: unknown) => process.stderr.write(`${String(error)}\n`))
  await rm(directory, { recursive: true, force: true })
}

async function measure(): Promise<void> {
  const origin = join(directory, 'origin.img')
  await must('truncate', ['-s', `${Math.max(...steps) + clean + 1}G`, origin])
  await cli.ask(
    'cache',
    'create',
    'fast',
    '--device',
    `${join(directory, 'ssd.img')},size=${options.cache}`,
    '--timeout',
    '1h',
  )
  // Nothing goes to the origin by itself, and no writer is slowed.
  const most = Math.max(...steps)
  const keep = ['--dirty-low', `${most * 1024 + 512}m`, '--dirty-high', `${most * 1536 + 1024}m`, '--dirty-age', '7d']
  const attach = ['cache', 'attach', 'fast', origin, '--name', 'disk', '--mode', 'write-back', ...keep]
  const { disk } = await cli.ask<{ disk: DiskDocument }>(...attach)
  let written = 0
  for (const step of steps) {
    await write(disk.socket, written, step)
    written = step
    await report(disk.socket)
  }
  await cli.ask('disk', 'flush', 'disk', '--timeout', '1h')
  await report(disk.socket)
  await write(disk.socket, written, written + clean)
  await cli.ask('disk', 'flush', 'disk', '--timeout', '1h')
  await report(disk.socket)
  await write(disk.socket, 0, Math.max(...steps))
  await report(disk.socket)
}

/** Writes the disk from one GiB to another, each page with bytes of its own, in pieces that no read-ahead takes for a stream. */
async function write(socket: string, from: number, to: number): Promise<void> {
  const client = await connectSimpleNbd(socket)
  const piece = Buffer.alloc(MEBIBYTE / 2)
  let next = to * GIBIBYTE
  const writer = async (): Promise<void> => {
    for (;;) {
      next -= piece.length
      const at = next
      if (at < from * GIBIBYTE) return
      const bytes = Buffer.from(piece)
      for (let page = 0; page < bytes.length; page += 4096) bytes.writeDoubleLE(at + page, page)
      await client.write(at, bytes)
    }
  }
  await Promise.all(Array.from({ length: 8 }, writer))
  await client.flush()
  await client.close()
}

async function report(socket: string): Promise<void> {
  const { dirtyBytes, cachedBytes } = await cli.ask<DiskDocument>('disk', 'show', 'disk')
  const [times, bare]: [number[], number[]] = [[], []]
  for (let kill = 0; kill < KILLS; kill++) {
    await new Promise((resolve) => setTimeout(resolve, GOOD_MILLISECONDS))
    const begun = performance.now()
    await run(process.execPath, ['-e', '0'])
    bare.push(performance.now() - begun)
    times.push(await killAndRead(socket))
    await until(
      'all of the index',
      async () => (await cli.ask<DiskDocument>('disk', 'show', 'disk')).state === 'serving',
      600_000,
    )
  }
  const [dirty, cached] = [dirtyBytes, cachedBytes].map((bytes) => `${(bytes / GIBIBYTE).toFixed(2)} GiB`)
  process.stdout.write(
    `${dirty} dirty of ${cached} cached: ${(Math.min(...times) / 1000).toFixed(2)} s at best (${times.map((time) => (time / 1000).toFixed(2)).join(' ')}); ` +
      `node -e 0 took ${Math.min(...bare).toFixed(0)} ms\n`,
  )
}

/** Milliseconds from SIGKILL to the answer to a read. */
async function killAndRead(socket: string): Promise<number> {
  const { pid } = readSupervisorStatus(join(directory, 'run'))!.engine
  process.kill(pid!, 'SIGKILL')
  const killedAt = performance.now()
  for (;;) {
    // A connection that the dead engine had accepted is gone; the next waits for the one that comes.
    try {
      const client = await connectSimpleNbd(socket)
      await client.read(0, 4096)
      const served = performance.now() - killedAt
      await client.close()
      return served
    } catch (error) {
      if (performance.now() - killedAt > 120_000) throw error
    }
  }
}

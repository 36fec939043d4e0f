/**
 * test/quickstart/: the main job of vmcache, shown on real data and measured while it is shown. `bin/quickstart` builds
 * this folder and runs it; it drives the public command line and shows each command that it gives.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { whyNoGuest } from '../support/guest/kernel.js'
import { until } from '../support/processes.js'
import { builtInClient } from './built-in-client.js'
import { commandLine, quoted, type CommandLine } from '../support/command-line.js'
import { guestClient } from './guest-client.js'
import type { Client, Measurement } from './measurement.js'
import { makeImage, startSlowStorage, type SlowStorage } from './storage.js'
import { latency, mebibytes, table } from './table.js'

const DELAY_MILLISECONDS = 4
const CACHE = 'demo'
const DISK = 'web01'

/** What the control API says, as far as it is used here. */
interface AttachResult {
  disk: { uri: string; socket: string }
}
interface EngineStatus {
  pid: number
  state: string
}
interface DiskStats {
  disks: { disk: string; reads: number; readHits: number; originReads: number }[]
}

interface Pass {
  readonly name: string
  readonly measurement: Measurement
  /** Null where vmcache was not in the path. */
  readonly hits: { readonly ratio: number; readonly originReads: number } | null
}

export async function quickstart(options: { root: string; keep: boolean; guest: boolean }): Promise<void> {
  const begun = performance.now()
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  const cli = commandLine(options.root, directory, (line) => say(`  $ ${line}`))
  const closers: (() => unknown)[] = [() => rm(directory, { recursive: true, force: true })]
  const close = async (): Promise<void> => {
    for (const closer of closers.reverse()) await closer()
    closers.length = 0
  }
  process.once('SIGINT', () => void close().finally(() => process.exit(130)))
  try {
    const storage = await prepareStorage(options.root, directory)
    closers.push(() => storage.stop())
    const disk = await serveThroughCache(cli, directory, storage)
    closers.push(() => cli.ask('engine', 'stop').catch((error: unknown) => say(String(error))))

    heading('A client works on the disk')
    const client = await startClient(options.guest, directory, disk.socket, storage.socket)
    closers.push(() => client.close())
    say(`The client is ${client.description}.`)
    await showPasses(cli, client)

    if (options.keep) {
      await client.close()
      closers.length = 0
      sayWhatNext(cli, directory, disk.uri, storage)
    } else {
      heading('Cleaning up')
      await client.close()
      closers.splice(closers.length - 2, 2)
      await cli.vmcache('cache', 'detach', DISK)
      await cli.vmcache('cache', 'delete', CACHE, '--yes')
      await cli.vmcache('engine', 'stop')
    }
  } finally {
    await close()
  }
  say(`\nDone in ${((performance.now() - begun) / 1000).toFixed(0)} s.`)
}

async function prepareStorage(root: string, directory: string): Promise<SlowStorage> {
  heading('A disk on slow storage')
  const image = join(directory, 'disk.img')
  const { files, bytes, kind } = await makeImage(image, root)
  const what = kind === 'ext4' ? 'an ext4 disk image with' : 'a disk image that holds, as an archive,'
  say(`${image}: ${what} ${files} files of this repository, ${mebibytes(bytes)}.`)
  const storage = await startSlowStorage(image, join(directory, 'storage.sock'), DELAY_MILLISECONDS)
  say(`It is served by ${storage.description}.`)
  return storage
}

async function serveThroughCache(
  cli: CommandLine,
  directory: string,
  storage: SlowStorage,
): Promise<{ uri: string; socket: string }> {
  heading('A cache in front of it')
  say(`  $ export ${assignments(cli)}`)
  await cli.vmcache('engine', 'start')
  await cli.vmcache('cache', 'create', CACHE, '--device', `${join(directory, 'ssd.img')},size=256m`)
  const { disk } = await cli.vmcache<AttachResult>('cache', 'attach', CACHE, storage.uri, '--name', DISK)
  say(`The disk is served as ${disk.uri}: QEMU, libvirt, qemu-img, nbdcopy and fio all take that.`)
  return disk
}

async function startClient(guest: boolean, directory: string, cached: string, direct: string): Promise<Client> {
  const reason = guest ? await whyNoGuest() : 'as you wished'
  if (reason === null) return guestClient({ directory, cached, direct })
  say(`No guest: ${reason}.`)
  return builtInClient({ cached, direct })
}

async function showPasses(cli: CommandLine, client: Client): Promise<void> {
  const passes: Pass[] = []
  const pass = async (name: string, path: 'direct' | 'cached'): Promise<void> => {
    const before = await countersOf(cli)
    const measurement = await client.readAll(path)
    const after = await countersOf(cli)
    const reads = after.reads - before.reads
    const hits = {
      ratio: reads === 0 ? 0 : (after.readHits - before.readHits) / reads,
      originReads: after.originReads - before.originReads,
    }
    passes.push({ name, measurement, hits: path === 'direct' ? null : hits })
    say(`${name}: ${mebibytes(measurement.bytes)} in ${measurement.seconds.toFixed(2)} s`)
  }
  await pass('without vmcache', 'direct')
  await pass('through vmcache, cold', 'cached')
  await pass('through vmcache, warm', 'cached')

  heading('The engine is killed while the client writes')
  const stopWriting = await client.writeRecords()
  await killEngine(cli)
  const { written, lost, longestPauseMilliseconds } = await stopWriting()
  say(
    `The client wrote ${written} records, each synced, and saw no error; ${lost} of them are lost; ` +
      `its longest wait for one was ${longestPauseMilliseconds.toFixed(0)} ms.`,
  )
  await pass('after kill -9 and restart', 'cached')

  heading('Before and after')
  say(tableOf(passes))
  const [direct, , warm, restarted] = passes.map(({ measurement }) => measurement)
  const faster = (after: Measurement): string => `${(direct!.seconds / after.seconds).toFixed(1)} times`
  say(`\nThe same work is ${faster(warm!)} as fast with a warm cache, and ${faster(restarted!)} after the kill.`)
  say('Every figure was measured in this run, by the client; hits and storage reads were counted by the engine.\n')
  say((await cli.read('status')).trimEnd())
  say((await cli.read('stats', '--window', 'all')).trimEnd())
}

/** SIGKILL to the engine of this directory, and the time until the next one serves. */
async function killEngine(cli: CommandLine): Promise<void> {
  const { pid } = await cli.ask<EngineStatus>('engine', 'status')
  say(`  $ kill -9 ${pid}`)
  const killedAt = performance.now()
  process.kill(pid, 'SIGKILL')
  const status = await until('the next engine', async () => {
    const next = await cli.ask<EngineStatus>('engine', 'status').catch(() => null)
    return next !== null && next.pid !== pid && next.state === 'running' ? next : null
  })
  const seconds = (performance.now() - killedAt) / 1000
  say(`Its supervisor has started the next one (pid ${status.pid}); it answered after ${seconds.toFixed(1)} s.`)
}

async function countersOf(cli: CommandLine): Promise<DiskStats['disks'][number]> {
  const { disks } = await cli.ask<DiskStats>('stats', DISK, '--window', 'all')
  return disks.find(({ disk }) => disk === DISK)!
}

function tableOf(passes: readonly Pass[]): string {
  const head = ['', 'time', 'throughput', 'read p50', 'read p99', 'hit ratio', 'storage reads']
  const rows = passes.map(({ name, measurement, hits }) => [
    name,
    `${measurement.seconds.toFixed(2)} s`,
    `${mebibytes(measurement.bytes / measurement.seconds)}/s`,
    latency(measurement.p50Microseconds),
    latency(measurement.p99Microseconds),
    hits === null ? '-' : `${(hits.ratio * 100).toFixed(1)} %`,
    String(hits === null ? measurement.requests : hits.originReads),
  ])
  return table([head, ...rows])
}

function sayWhatNext(cli: CommandLine, directory: string, uri: string, storage: SlowStorage): void {
  heading('It goes on running; type next')
  say(`  export ${assignments(cli)}`)
  for (const line of [
    'bin/vmcache status',
    'bin/vmcache stats --latency',
    `bin/vmcache disk show ${DISK}`,
    `qemu-img info '${uri}'`,
    `bin/vmcache disk invalidate ${DISK}`,
  ]) {
    say(`  ${line}`)
  }
  say('To end it:')
  say(`  bin/vmcache cache detach ${DISK} && bin/vmcache engine stop && kill ${storage.pid} && rm -r ${directory}`)
}

function assignments(cli: CommandLine): string {
  return Object.entries(cli.environment)
    .map(([name, value]) => `${name}=${quoted(value)}`)
    .join(' ')
}

function heading(text: string): void {
  say(`\n${process.stdout.isTTY ? `\x1b[1m${text}\x1b[0m` : text}`)
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DiskDocument, DiskStatsDocument, StatsDocument } from '../../src/protocol/control/documents.js'
import { readSupervisorStatus } from '../../src/protocol/control/supervisor-status.js'
import { commandLine, type CommandLine } from './command-line.js'
import { until } from './processes.js'

const CACHE = 'fast'
const DISK = 'disk'

/** A disk behind a cache in a file, served by an engine of its own that the command line started. */
export interface CachedDisk {
  readonly directory: string
  readonly cli: CommandLine
  readonly uri: string
  readonly socket: string
  stats(): Promise<DiskStatsDocument>
  /** SIGKILL to the engine, and waits for the one that its supervisor starts. */
  killEngine(): Promise<void>
  /** A clean stop and start of supervisor and engine. */
  restart(): Promise<void>
  /** Ends engine and supervisor, whatever state they are in, and removes the directory. */
  stop(): Promise<void>
}

export interface CachedDiskOptions {
  /** Given the directory, makes the origin there and returns its path or URI. */
  readonly origin: (directory: string) => Promise<string>
  readonly cacheSize?: string
  readonly attachFlags?: readonly string[]
}

/** Creates a cache, attaches the origin to it and serves it; needs a built dist/. */
export async function startCachedDisk(options: CachedDiskOptions): Promise<CachedDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-'))
  const cli = commandLine(join(import.meta.dirname, '..', '..'), directory, () => {})
  const runDir = join(directory, 'run')
  const stop = async (): Promise<void> => {
    await endSupervisor(runDir)
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const origin = await options.origin(directory)
    const device = `${join(directory, 'ssd.img')},size=${options.cacheSize ?? '256m'}`
    await cli.ask('cache', 'create', CACHE, '--device', device)
    const attach = ['cache', 'attach', CACHE, origin, '--name', DISK, ...(options.attachFlags ?? [])]
    const { disk } = await cli.ask<{ disk: DiskDocument }>(...attach)
    return {
      directory,
      cli,
      uri: disk.uri,
      socket: disk.socket,
      async stats() {
        const { disks } = await cli.ask<StatsDocument>('stats', DISK, '--window', 'all')
        return disks[0]!
      },
      async killEngine() {
        const pid = readSupervisorStatus(runDir)!.engine.pid!
        process.kill(pid, 'SIGKILL')
        await until('the next engine', () => {
          const engine = readSupervisorStatus(runDir)?.engine
          return engine?.state === 'running' && engine.pid !== pid
        }).catch(async (error: unknown) => {
          throw new Error(`${String(error)}; the end of its log:\n${await endOfLog(directory)}`)
        })
      },
      async restart() {
        await cli.ask('engine', 'stop', '--force')
        await cli.ask('engine', 'start')
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function endOfLog(directory: string): Promise<string> {
  const log = await readFile(join(directory, 'state', 'log'), 'utf8').catch(String)
  return log.trimEnd().split('\n').slice(-20).join('\n')
}

/** SIGTERM, which closes everything in order; SIGKILL to both where that takes too long. */
async function endSupervisor(runDir: string): Promise<void> {
  const status = readSupervisorStatus(runDir)
  if (status === null) return
  const { pid, engine } = status
  signal(pid, 'SIGTERM')
  await until('the end of the supervisor', () => !signal(pid, 0), 10_000).catch(() => {
    for (const process of [pid, engine.pid]) if (process !== null) signal(process, 'SIGKILL')
  })
}

/** Whether the process was there. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DiskDocument, DiskStatsDocument, StatsDocument } from '../../src/protocol/control/documents.js'
import { endSupervisor, killEngine } from './background-engine.js'
import { commandLine, type CommandLine } from './command-line.js'

const CACHE = 'fast'
const DISK = 'disk'

/** A disk behind a cache in a file, served by an engine of its own that the command line started. */
export interface CachedDisk {
  readonly directory: string
  readonly cli: CommandLine
  readonly uri: string
  readonly socket: string
  show(): Promise<DiskDocument>
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
  const stop = async (): Promise<void> => {
    await endSupervisor(directory)
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
      show: () => cli.ask<DiskDocument>('disk', 'show', DISK),
      async stats() {
        const { disks } = await cli.ask<StatsDocument>('stats', DISK, '--window', 'all')
        return disks[0]!
      },
      killEngine: () => killEngine(directory),
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

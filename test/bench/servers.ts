import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { CommandLine } from '../support/command-line.js'
import { type Processes, until } from '../support/processes.js'
import { findProgram } from '../support/programs.js'

/** Something that serves the bench's file over NBD. */
export interface Server {
  readonly name: string
  readonly uri: string
  /** Brings it into the state that the load asks for, before each run. */
  prepare?(): Promise<void>
  /** Waits after a run until nothing of it goes on. */
  settle?(): Promise<void>
}

interface AttachResult {
  disk: { socket: string }
}

/** nbdkit with these arguments. */
export async function startNbdkit(
  processes: Processes,
  directory: string,
  name: string,
  args: readonly string[],
): Promise<Server> {
  const socket = join(directory, `${name.replaceAll(' ', '-')}.sock`)
  return start(processes, name, socket, 'nbdkit', ['-f', '-U', socket, ...args])
}

/** nbdkit's `file` plugin and qemu-nbd, on `image` through the page cache. */
export async function foreignServers(processes: Processes, directory: string, image: string): Promise<Server[]> {
  const socket = join(directory, 'qemu.sock')
  const qemu = ['--persistent', '--shared=0', '-f', 'raw', '--cache=writeback', '-k', socket, image]
  return [
    await startNbdkit(processes, directory, 'nbdkit file', ['file', image]),
    await start(processes, 'qemu-nbd', socket, 'qemu-nbd', qemu),
  ]
}

async function start(
  processes: Processes,
  name: string,
  socket: string,
  program: 'nbdkit' | 'qemu-nbd',
  args: readonly string[],
): Promise<Server> {
  processes.start(findProgram(program)!, args)
  await until(socket, () =>
    access(socket).then(
      () => true,
      () => false,
    ),
  )
  return { name, uri: uriOf(socket) }
}

/** Attaches an origin to the bench's cache; the server's name says in which mode. */
export async function attach(
  cli: CommandLine,
  cache: string,
  origin: string,
  name: string,
  mode: string,
  ...flags: string[]
): Promise<Server> {
  const { disk } = await cli.ask<AttachResult>(
    'cache',
    'attach',
    cache,
    origin,
    '--name',
    name,
    '--mode',
    mode,
    ...flags,
  )
  return { name: `vmcache ${mode}`, uri: uriOf(disk.socket) }
}

function uriOf(socket: string): string {
  return `nbd+unix:///?socket=${socket}`
}

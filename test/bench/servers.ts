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
}

interface AttachResult {
  disk: { socket: string }
}

/** nbdkit's `file` plugin and qemu-nbd, on `image` through the page cache. */
export async function foreignServers(processes: Processes, directory: string, image: string): Promise<Server[]> {
  const nbdkitSocket = join(directory, 'nbdkit.sock')
  const qemuSocket = join(directory, 'qemu.sock')
  processes.start(findProgram('nbdkit')!, ['-f', '-U', nbdkitSocket, 'file', image])
  const qemu = ['--persistent', '--shared=0', '-f', 'raw', '--cache=writeback', '-k', qemuSocket, image]
  processes.start(findProgram('qemu-nbd')!, qemu)
  for (const socket of [nbdkitSocket, qemuSocket]) {
    await until(socket, () =>
      access(socket).then(
        () => true,
        () => false,
      ),
    )
  }
  return [
    { name: 'nbdkit file', uri: uriOf(nbdkitSocket) },
    { name: 'qemu-nbd', uri: uriOf(qemuSocket) },
  ]
}

/** Attaches `image` to the bench's cache; the disk's name says in which mode. */
export async function attach(
  cli: CommandLine,
  cache: string,
  image: string,
  name: string,
  mode: string,
): Promise<Server> {
  const { disk } = await cli.ask<AttachResult>('cache', 'attach', cache, image, '--name', name, '--mode', mode)
  return { name: `vmcache ${mode}`, uri: uriOf(disk.socket) }
}

function uriOf(socket: string): string {
  return `nbd+unix:///?socket=${socket}`
}

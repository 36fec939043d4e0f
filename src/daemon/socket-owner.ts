import { chmodSync, chownSync, closeSync, lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { assert } from '../base/assert.js'
import { systemCode, VmcacheError } from '../base/errors.js'
import { vmsDirectory } from '../hypervisor/vms-directory.js'
import { makeDirectories } from '../protocol/control/make-directories.js'
import { listenUnix, MAXIMUM_SOCKET_PATH_BYTES } from '../base/system-calls.js'

export interface SocketAccess {
  readonly mode: number
  /** Null: the group of this process. */
  readonly gid: number | null
}

/** The listening sockets of the disks. They outlive engines: a client that connects between two waits in the backlog. */
export interface SocketOwner {
  /** Descriptor of the socket at `path`, which is created where it is not owned yet. */
  listen(path: string): number
  /** Closes and unlinks it; nothing where it is not owned. */
  close(path: string): void
  closeAll(): void
}

const BACKLOG = 128

/** Owns sockets below `runDir`, whose lock the caller holds: what lies there was left by a dead supervisor. */
export function createSocketOwner(runDir: string, access: SocketAccess): SocketOwner {
  const owned = new Map<string, number>()

  const close = (path: string): void => {
    const descriptor = owned.get(path)
    if (descriptor === undefined) return
    owned.delete(path)
    unlinkIfThere(path)
    closeSync(descriptor)
  }

  return {
    listen(path) {
      const known = owned.get(path)
      if (known !== undefined) return known
      assert(!relative(runDir, path).startsWith('..'), `socket ${path} is outside of ${runDir}`)
      if (Buffer.byteLength(path) > MAXIMUM_SOCKET_PATH_BYTES) {
        throw new VmcacheError(
          'BAD_NAME',
          `socket path ${path} has ${Buffer.byteLength(path)} bytes: expected at most ${MAXIMUM_SOCKET_PATH_BYTES}`,
          { hint: 'use a shorter disk name or run-dir' },
        )
      }
      // Whoever may use the socket has to reach it, whatever the umask.
      if (makeDirectories(dirname(path))) chmodSync(dirname(path), 0o755)
      removeSocket(path)
      // Nobody but us may connect before group and mode are right: chown first, from the strictest mode.
      const descriptor = listenUnix(path, { mode: access.gid === null ? access.mode : 0o600, backlog: BACKLOG })
      try {
        openTo(path, access)
      } catch (error) {
        closeSync(descriptor)
        unlinkIfThere(path)
        throw error
      }
      owned.set(path, descriptor)
      return descriptor
    },
    close,
    closeAll: () => [...owned.keys()].forEach(close),
  }
}

/** Removes the sockets that a dead supervisor left below `runDir`. The monitors of VMs are theirs, and may be all that leads to them. */
export function removeStaleSockets(runDir: string): void {
  for (const entry of readdirSync(runDir, { withFileTypes: true, recursive: true })) {
    const isOfVm = `${entry.parentPath}/`.startsWith(`${vmsDirectory(runDir)}/`)
    if (entry.isSocket() && !isOfVm) unlinkIfThere(join(entry.parentPath, entry.name))
  }
}

/** Makes room for a socket: one that nobody owns goes, anything else stays. */
function removeSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new VmcacheError('WRONG_STATE', `${path} is in the way of a disk's socket: expected nothing there`, {
      hint: 'move it away',
    })
  }
  unlinkIfThere(path)
}

function openTo(path: string, { mode, gid }: SocketAccess): void {
  if (gid === null) return
  chownSync(path, -1, gid)
  chmodSync(path, mode)
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

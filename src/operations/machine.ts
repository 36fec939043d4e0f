import { access, constants, readFile, stat, statfs } from 'node:fs/promises'
import { availableParallelism } from 'node:os'

/** What operations look at on this machine beyond their own files; passed in, so that tests can show them any machine. */
export interface Machine {
  readonly processId: number
  /** `v20.19.2` */
  readonly nodeVersion: string
  /** Threads of the pool on which file calls run. */
  readonly threadPoolSize: number
  readonly processors: number
  /** Bytes free for us on the file system that holds `path`. */
  freeBytes(path: string): Promise<number>
  /** Number of the file system that holds `path`. */
  fileSystemOf(path: string): Promise<number>
  /** Whether files can be made in the directory. */
  isWritable(directory: string): Promise<boolean>
  groupExists(name: string): Promise<boolean>
  /** Path of the installed unit of systemd, or null. */
  installedUnit(): Promise<string | null>
}

const UNIT_PATHS = ['/etc/systemd/system/vmcache.service', '/usr/lib/systemd/system/vmcache.service']
/** libuv's own default. */
const DEFAULT_THREAD_POOL_SIZE = 4

export const systemMachine: Machine = {
  processId: process.pid,
  nodeVersion: process.version,
  threadPoolSize: Number(process.env['UV_THREADPOOL_SIZE'] ?? DEFAULT_THREAD_POOL_SIZE),
  processors: availableParallelism(),
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
  async fileSystemOf(path) {
    return (await stat(path)).dev
  },
  isWritable: (directory) => succeeds(access(directory, constants.W_OK | constants.X_OK)),
  async groupExists(name) {
    const groups = await readFile('/etc/group', 'utf8')
    return groups.split('\n').some((line) => line.startsWith(`${name}:`))
  },
  async installedUnit() {
    for (const path of UNIT_PATHS) if (await succeeds(access(path))) return path
    return null
  },
}

function succeeds(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  )
}

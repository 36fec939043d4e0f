import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import { execa } from 'execa'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'
import { messageOf, VmcacheError } from '../../base/errors.js'
import type { VmLoad } from '../../model/idleness.js'
import type { VmDefinition } from '../../model/vm.js'
import type { VmDriver, VmIdentity, VmListener, VmMonitor } from '../driver.js'
import { loadMemory, saveMemory } from '../memory-stream.js'
import { agentSocket } from './agent-socket.js'
import { processSeconds } from './process-seconds.js'
import { qemuArguments } from './qemu-arguments.js'
import { connectQmp, type QmpClient } from './qmp-client.js'
import { setGuestTime } from './set-guest-time.js'
import { vmPaths } from './vm-paths.js'

export interface QemuDriverOptions {
  /** Monitors of VMs lie in its `vms/`. */
  readonly runDirectory: string
  readonly clock: Clock
  readonly random: Random
  readonly onChange: VmListener
}

const QEMU = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64'
const START_MILLISECONDS = 30_000
const COMMAND_MILLISECONDS = 10_000
const END_MILLISECONDS = 10_000

/** Both monitors of a VM. */
interface Connection {
  readonly commands: QmpClient
  readonly rescue: QmpClient
}

/** Events after which disks or state of a VM may be others. */
const TELLING = new Set(['STOP', 'RESUME', 'SHUTDOWN', 'RESET', 'BLOCK_IO_ERROR', 'DEVICE_DELETED'])

/** VMs that vmcache runs itself. Each is a process of its own that ends when its VM does, not when the engine does. */
export function createQemuDriver({ runDirectory, clock, random, onChange }: QemuDriverOptions): VmDriver {
  const connections = new Map<string, Promise<Connection>>()

  async function open(uuid: string): Promise<Connection> {
    const paths = vmPaths(runDirectory, uuid)
    const options = { clock, timeoutMilliseconds: COMMAND_MILLISECONDS }
    const commands = await connectQmp({
      ...options,
      path: paths.monitor,
      onEvent: ({ name }) => {
        if (TELLING.has(name)) onChange(uuid)
      },
    })
    try {
      // Before it is needed: a monitor agrees to commands out of band in the main loop, which may hang by then.
      return { commands, rescue: await connectQmp({ ...options, path: paths.rescue, outOfBand: true }) }
    } catch (error) {
      commands.close()
      throw error
    }
  }

  /** The connection to a VM's monitors, kept for its events; null where no QEMU listens there. */
  async function connected({ uuid }: VmIdentity): Promise<Connection | null> {
    const known = connections.get(uuid)
    if (known !== undefined) return known.catch(whenOff)
    const opening = open(uuid)
    connections.set(uuid, opening)
    opening.then(
      async ({ commands, rescue }) => {
        onChange(uuid)
        await commands.closed
        rescue.close()
        connections.delete(uuid)
        onChange(uuid)
      },
      () => connections.delete(uuid),
    )
    return opening.catch(whenOff)
  }

  async function running(vm: VmIdentity): Promise<QmpClient> {
    const connection = await connected(vm)
    if (connection !== null) return connection.commands
    throw new VmcacheError('WRONG_STATE', `VM ${vm.name} is off`, { hint: `start it: vmcache vm start ${vm.name}` })
  }

  /** Null where it does not run. */
  async function loadOf(vm: VmIdentity): Promise<VmLoad | null> {
    const connection = await connected(vm)
    if (connection === null) return null
    const { execute } = connection.commands
    const { running } = (await execute('query-status')) as { running: boolean }
    if (!running) return null
    const pid = Number(await readFile(vmPaths(runDirectory, vm.uuid).pid, 'utf8'))
    return { cpuSeconds: await processSeconds(pid), diskRequests: await diskRequests(execute) }
  }

  async function memoryDirectory({ uuid }: VmIdentity): Promise<string> {
    const { directory } = vmPaths(runDirectory, uuid)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return directory
  }

  async function start(vm: VmIdentity, { awaitsMemory }: { readonly awaitsMemory: boolean }): Promise<void> {
    const definition = definitionOf(vm)
    if ((await connected(vm)) !== null) throw new VmcacheError('WRONG_STATE', `VM ${vm.name} runs already`)
    await memoryDirectory(vm)
    const paths = vmPaths(runDirectory, vm.uuid)
    const blockDevices = await blockDevicesOf(definition)
    try {
      await execa(QEMU, qemuArguments({ ...vm, definition, paths, blockDevices, awaitsMemory }), {
        stdin: 'ignore',
        timeout: START_MILLISECONDS,
      })
    } catch (error) {
      throw startError(vm, error)
    }
    await running(vm)
  }

  async function destroy(vm: VmIdentity): Promise<void> {
    const connection = await connected(vm)
    if (connection === null) return
    // The answer may get lost with the process.
    await connection.commands.execute('quit').catch(() => {})
    await ended(vm, connection.commands, clock)
    await rm(vmPaths(runDirectory, vm.uuid).directory, { recursive: true, force: true })
  }

  return {
    name: 'qemu',
    capabilities: { definesVms: true, outOfBand: true, cheapMonitors: true },
    async find(nameOrUuid) {
      throw new VmcacheError('VM_NOT_FOUND', `VM ${nameOrUuid} is not defined`, { hint: 'see: vmcache vm list' })
    },
    async declared(vm) {
      const { memoryBytes, disks } = definitionOf(vm)
      return {
        name: vm.name,
        memoryBytes,
        disks: disks.map(({ target, path }) => ({
          target,
          device: target,
          path,
          discard: true,
          io: null,
          stopsOnError: true,
          whyDirect: null,
        })),
      }
    },
    async monitor(vm): Promise<VmMonitor | null> {
      const connection = await connected(vm)
      return connection === null ? null : monitorOf(connection)
    },
    async loads(vms) {
      const own = vms.filter(({ definition }) => definition !== null)
      const loads = await Promise.all(own.map(async (vm) => [vm.uuid, await loadOf(vm).catch(() => null)] as const))
      return new Map(loads.flatMap(([uuid, load]) => (load === null ? [] : [[uuid, load] as const])))
    },
    startPaused: (vm) => start(vm, { awaitsMemory: false }),
    async resume(vm) {
      await (await running(vm)).execute('cont')
    },
    async setGuestClock(vm, signal) {
      const path = agentSocket(definitionOf(vm).qemuArguments)
      if (path === null) return false
      await setGuestTime(path, { now: () => clock.now(), id: random.below(2 ** 31), signal })
      return true
    },
    async powerDown(vm) {
      await (await running(vm)).execute('system_powerdown')
    },
    destroy,
    lastingDefinition: async () => null,
    memoryDirectory,
    async save(vm, socket, watch) {
      await saveMemory(await running(vm), socket, watch)
    },
    async restore(vm, { socket, prepare }, watch) {
      await start(vm, { awaitsMemory: true })
      try {
        const monitor = monitorOf((await connected(vm))!)
        await prepare(monitor)
        await loadMemory(monitor, { socket, incoming: vmPaths(runDirectory, vm.uuid).incoming }, watch)
      } catch (error) {
        await destroy(vm)
        throw error
      }
    },
    watch(vms) {
      for (const vm of vms) if (vm.definition !== null) connected(vm).catch(() => {})
    },
    async close() {
      for (const connection of connections.values()) {
        connection.then(
          ({ commands }) => commands.close(),
          () => {},
        )
      }
    },
  }
}

function monitorOf({ commands, rescue }: Connection): VmMonitor {
  return {
    execute: commands.execute,
    async yank(node) {
      await rescue.execute('yank', { instances: [{ type: 'block-node', 'node-name': node }] })
    },
  }
}

/** Requests of all devices since QEMU began; an attached cache does not begin anew. */
async function diskRequests(execute: VmMonitor['execute']): Promise<number> {
  const devices = (await execute('query-blockstats')) as { stats: Record<(typeof REQUESTS)[number], number> }[]
  return devices.reduce((sum, { stats }) => sum + REQUESTS.reduce((all, kind) => all + stats[kind], 0), 0)
}

const REQUESTS = ['rd_operations', 'wr_operations', 'flush_operations', 'unmap_operations'] as const

/** Null where the error says that no QEMU is there. */
function whenOff(error: unknown): null {
  const code = error instanceof VmcacheError ? error.details['systemCode'] : undefined
  // A QEMU that ends resets whoever connects.
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET') return null
  throw error
}

async function ended({ name }: VmIdentity, client: QmpClient, clock: Clock): Promise<void> {
  let cancel = (): void => {}
  const late = new Promise<never>((_, reject) => {
    cancel = clock.after(END_MILLISECONDS, () =>
      reject(new VmcacheError('HYPERVISOR', `QEMU of VM ${name} does not end within ${END_MILLISECONDS / 1000} s`)),
    )
  })
  await Promise.race([client.closed, late]).finally(cancel)
}

async function blockDevicesOf({ disks }: VmDefinition): Promise<Set<string>> {
  const kinds = await Promise.all(
    disks.map(async ({ path }) => ((await stat(path).catch(() => null))?.isBlockDevice() === true ? [path] : [])),
  )
  return new Set(kinds.flat())
}

function definitionOf({ definition }: VmIdentity): VmDefinition {
  assert(definition !== null, 'a VM of this driver has a definition')
  return definition
}

function startError({ name }: VmIdentity, error: unknown): VmcacheError {
  const { code, stderr, timedOut } = error as { code?: string; stderr?: string; timedOut?: boolean }
  if (code === 'ENOENT') {
    return new VmcacheError('HYPERVISOR', `VM ${name} cannot be started: ${QEMU} is not installed`, {
      hint: 'install QEMU, for example: apt-get install qemu-system-x86',
      cause: error,
    })
  }
  const words = timedOut === true ? `no answer within ${START_MILLISECONDS / 1000} s` : lastLine(stderr ?? '')
  return new VmcacheError('HYPERVISOR', `VM ${name} cannot be started: ${words ?? messageOf(error)}`, { cause: error })
}

function lastLine(text: string): string | undefined {
  const line = text.trimEnd().split('\n').at(-1)?.trim()
  return line === '' ? undefined : line?.replace(/^qemu-system-\w+: /, '')
}

import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'
import { messageOf, VmcacheError } from '../../base/errors.js'
import type { VmLoad } from '../../model/idleness.js'
import type { VmDriver, VmIdentity, VmListener, VmMonitor } from '../driver.js'
import { saveMemory } from '../memory-stream.js'
import { vmsDirectory } from '../vms-directory.js'
import { decodeMessage, encodeCommand } from '../../protocol/qmp/message.js'
import { hasAgentPort, parseDomain } from './domain.js'
import { freeReaders, loadThroughFifo } from './load-through-fifo.js'
import { parseLoads } from './loads.js'
import { readsOfStart, savedDomain, savedImageStart, type SavedDomain } from './saved-image.js'
import { createVirsh } from './virsh.js'
import { watchEvents, type EventWatch } from './watch-events.js'

export interface LibvirtDriverOptions {
  /** Sockets for the memory of VMs lie in its `vms/`. */
  readonly runDirectory: string
  /** The group that libvirt runs QEMU with; null for the one of this process. */
  readonly qemuGroup: number | null
  readonly clock: Clock
  readonly random: Random
  readonly onChange: VmListener
}

/** Where domains are, for those of which nobody said anything else. */
export const DEFAULT_CONNECTION = 'qemu:///system'

/** Starting a domain prepares its network and storage. */
const START_MILLISECONDS = 60_000
/** Until an agent is asked again that was not there yet: libvirt hears a moment later that the port of a restored guest is open. */
const AGENT_AGAIN_MILLISECONDS = 250
/** The name of what libvirtd reads memory from. */
const FIFO = 'restore'

/** Of all domains of a connection at once. */
const STATISTICS = ['domstats', '--raw', '--list-running', '--cpu-total', '--block']

type Where = Pick<VmIdentity, 'connect'>

/** Domains of libvirt: a VM is its UUID, whatever it is called. Nothing of a domain's definition is changed. */
export function createLibvirtDriver(options: LibvirtDriverOptions): VmDriver {
  const { runDirectory, qemuGroup, clock, random, onChange } = options
  let watches = new Map<string, EventWatch>()
  const { run, close } = createVirsh(clock, random)
  const virsh = (where: Where, words: readonly string[], limit?: number | AbortSignal): Promise<string> =>
    run(connectionOf(where), words, limit)
  const freed = freeReaders(vmsDirectory(runDirectory), FIFO)
  freed.catch(() => {})

  /** Its QEMU has a user of its own. */
  async function openTo(path: string, mode: number): Promise<void> {
    if (qemuGroup === null) return
    await chown(path, -1, qemuGroup)
    await chmod(path, mode)
  }

  async function memoryDirectory({ uuid }: VmIdentity): Promise<string> {
    const all = vmsDirectory(runDirectory)
    const directory = join(all, uuid)
    await mkdir(directory, { recursive: true, mode: 0o700 })
    if (qemuGroup !== null) await chmod(all, 0o711)
    await openTo(directory, 0o710)
    return directory
  }

  async function destroy(vm: VmIdentity): Promise<void> {
    await virsh(vm, ['destroy', vm.uuid], START_MILLISECONDS).catch((error: unknown) => {
      if (!(error instanceof VmcacheError && error.code === 'WRONG_STATE')) throw error
    })
    await rm(join(vmsDirectory(runDirectory), vm.uuid), { recursive: true, force: true })
  }

  async function monitorCommand(
    vm: VmIdentity,
    command: string,
    args?: object,
    { timeoutMilliseconds }: { timeoutMilliseconds?: number } = {},
  ): Promise<unknown> {
    const given = args === undefined ? {} : { arguments: args }
    const text = encodeCommand({ id: null, command, ...given }).trim()
    const answer = await virsh(vm, ['qemu-monitor-command', vm.uuid, asciiJson(text)], timeoutMilliseconds)
    const message = decodeMessage(answer.trim())
    if (message.kind === 'answer') return message.value
    const words = message.kind === 'error' ? message.description : `no answer to ${command}`
    throw new VmcacheError('HYPERVISOR', `QEMU refuses: ${words}`)
  }

  async function stateOf(vm: VmIdentity): Promise<string> {
    return (await virsh(vm, ['domstate', vm.uuid])).trim()
  }

  function monitorOf(vm: VmIdentity): VmMonitor {
    return { execute: (command, args, options) => monitorCommand(vm, command, args, options), yank: null }
  }

  /** `9.0.0`, of the libvirtd that does the work, not of the virsh that asks it. */
  async function daemonVersion(vm: VmIdentity): Promise<string> {
    const text = await virsh(vm, ['version', '--daemon'])
    const version = /daemon: (\S+)/.exec(text)?.[1]
    if (version !== undefined) return version
    throw new VmcacheError('HYPERVISOR', `virsh version says nothing of its daemon: ${text.trim()}`)
  }

  return {
    name: 'libvirt',
    capabilities: { definesVms: false, outOfBand: false, cheapMonitors: false },
    async find(nameOrUuid, connect) {
      const ask = async (command: string) => (await virsh({ connect }, [command, '--', nameOrUuid])).trim()
      return { uuid: await ask('domuuid'), name: await ask('domname').catch(() => nameOrUuid) }
    },
    declared: async (vm) => parseDomain(await virsh(vm, ['dumpxml', vm.uuid])),
    async monitor(vm): Promise<VmMonitor | null> {
      const state = await stateOf(vm)
      return state === 'shut off' || state === 'crashed' ? null : monitorOf(vm)
    },
    async loads(vms) {
      const domains = vms.filter(({ definition }) => definition === null)
      const connections = [...new Set(domains.map(connectionOf))]
      const loads = await Promise.all(
        connections.map(async (connect) => {
          const found = await virsh({ connect }, STATISTICS).then(parseLoads, () => new Map<string, VmLoad>())
          return domains.flatMap((vm): [string, VmLoad][] => {
            const load = connectionOf(vm) === connect ? found.get(vm.name) : undefined
            return load === undefined ? [] : [[vm.uuid, load]]
          })
        }),
      )
      return new Map(loads.flat())
    },
    async startPaused(vm) {
      await virsh(vm, ['start', vm.uuid, '--paused'], START_MILLISECONDS)
    },
    async resume(vm) {
      await virsh(vm, ['resume', vm.uuid]).catch(async (error: unknown) => {
        if ((await stateOf(vm)) !== 'running') throw error
      })
    },
    async setGuestClock(vm, signal) {
      if (!hasAgentPort(await virsh(vm, ['dumpxml', vm.uuid]))) return false
      for (;;) {
        try {
          await virsh(vm, ['domtime', vm.uuid, '--now'], signal)
          return true
        } catch (error) {
          if (signal.aborted || !/agent is not connected/.test(messageOf(error))) throw error
          await new Promise<void>((resolve) => clock.after(AGENT_AGAIN_MILLISECONDS, resolve))
        }
      }
    },
    async powerDown(vm) {
      await virsh(vm, ['shutdown', vm.uuid])
    },
    destroy,
    async lastingDefinition(vm) {
      refuseOtherMachine(vm)
      const persistent = (await virsh(vm, ['list', '--all', '--persistent', '--uuid'])).split(/\s+/)
      if (!persistent.includes(vm.uuid)) {
        throw notSuspended(vm, 'its domain is transient, and nothing would be left of it', 'define it: virsh define')
      }
      const xml = await virsh(vm, ['dumpxml', '--migratable', vm.uuid])
      return JSON.stringify(savedDomain(xml, await virsh(vm, ['dumpxml', vm.uuid])))
    },
    memoryDirectory,
    async save(vm, socket, watch) {
      await openTo(socket, 0o660)
      await saveMemory(monitorOf(vm), socket, watch)
    },
    async restore(vm, { socket, definition, prepare }, watch) {
      assert(definition !== null, 'what a domain consisted of was kept')
      const start = savedImageStart(JSON.parse(definition) as SavedDomain)
      await freed
      const source = {
        fifo: join(await memoryDirectory(vm), FIFO),
        start: Buffer.concat(Array<Buffer>(readsOfStart(await daemonVersion(vm))).fill(start)),
        socket,
      }
      try {
        await loadThroughFifo(source, (fifo, abort) => virsh(vm, ['restore', '--paused', fifo], abort), watch)
        await prepare(monitorOf(vm))
      } catch (error) {
        // One that runs is somebody else's.
        const state = await stateOf(vm).catch(() => null)
        if (state === 'paused') await destroy(vm)
        throw error
      }
    },
    watch(vms) {
      const wanted = new Set(vms.filter(({ definition }) => definition === null).map(connectionOf))
      for (const [uri, watch] of watches) if (!wanted.has(uri)) watch.stop()
      watches = new Map([...wanted].map((uri) => [uri, watches.get(uri) ?? watchEvents(uri, clock, onChange)]))
    },
    async close() {
      for (const watch of watches.values()) watch.stop()
      watches = new Map()
      close()
    },
  }
}

function connectionOf({ connect }: Where): string {
  return connect ?? DEFAULT_CONNECTION
}

/** Its QEMU could not reach our sockets. */
function refuseOtherMachine(vm: VmIdentity): void {
  const uri = connectionOf(vm)
  const host = URL.canParse(uri) ? new URL(uri).host : ''
  if (host !== '') throw notSuspended(vm, `it runs on ${host}`, 'suspend it there')
}

function notSuspended({ name }: VmIdentity, why: string, hint: string): VmcacheError {
  return new VmcacheError('REFUSED', `VM ${name} cannot be suspended: ${why}`, { hint })
}

/** The same JSON without characters that are none of ASCII. */
function asciiJson(text: string): string {
  return text.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

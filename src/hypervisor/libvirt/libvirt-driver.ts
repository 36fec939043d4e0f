import { execa } from 'execa'
import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import type { VmLoad } from '../../model/idleness.js'
import type { VmDriver, VmIdentity, VmListener, VmMonitor } from '../driver.js'
import { decodeMessage, encodeCommand } from '../../protocol/qmp/message.js'
import { parseDomain } from './domain.js'
import { parseLoads } from './loads.js'
import { watchEvents, type EventWatch } from './watch-events.js'

export interface LibvirtDriverOptions {
  readonly clock: Clock
  readonly onChange: VmListener
}

/** Where domains are, for those of which nobody said anything else. */
export const DEFAULT_CONNECTION = 'qemu:///system'

const COMMAND_MILLISECONDS = 10_000
/** Starting a domain prepares its network and storage. */
const START_MILLISECONDS = 60_000
/** What virsh itself takes. */
const MARGIN_MILLISECONDS = 2000

/** Of all domains of a connection at once: each call is a process. */
const STATISTICS = ['domstats', '--raw', '--list-running', '--cpu-total', '--block']

type Where = Pick<VmIdentity, 'connect'>

/** Domains of libvirt: a VM is its UUID, whatever it is called. Nothing of a domain's definition is changed. */
export function createLibvirtDriver({ clock, onChange }: LibvirtDriverOptions): VmDriver {
  let watches = new Map<string, EventWatch>()

  return {
    name: 'libvirt',
    capabilities: { definesVms: false, outOfBand: false, suspends: false },
    async find(nameOrUuid, connect) {
      const ask = async (command: string) => (await virsh({ connect }, [command, '--', nameOrUuid])).trim()
      return { uuid: await ask('domuuid'), name: await ask('domname').catch(() => nameOrUuid) }
    },
    declared: async (vm) => parseDomain(await virsh(vm, ['dumpxml', vm.uuid])),
    async monitor(vm): Promise<VmMonitor | null> {
      const state = (await virsh(vm, ['domstate', vm.uuid])).trim()
      if (state === 'shut off' || state === 'crashed') return null
      return { execute: (command, args, options) => monitorCommand(vm, command, args, options), yank: null }
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
      await virsh(vm, ['resume', vm.uuid])
    },
    async powerDown(vm) {
      await virsh(vm, ['shutdown', vm.uuid])
    },
    async destroy(vm) {
      await virsh(vm, ['destroy', vm.uuid], START_MILLISECONDS).catch((error: unknown) => {
        if (!(error instanceof VmcacheError && error.code === 'WRONG_STATE')) throw error
      })
    },
    watch(vms) {
      const wanted = new Set(vms.filter(({ definition }) => definition === null).map(connectionOf))
      for (const [uri, watch] of watches) if (!wanted.has(uri)) watch.stop()
      watches = new Map([...wanted].map((uri) => [uri, watches.get(uri) ?? watchEvents(uri, clock, onChange)]))
    },
    async close() {
      for (const watch of watches.values()) watch.stop()
      watches = new Map()
    },
  }
}

function connectionOf({ connect }: Where): string {
  return connect ?? DEFAULT_CONNECTION
}

async function monitorCommand(
  vm: VmIdentity,
  command: string,
  args?: object,
  { timeoutMilliseconds = COMMAND_MILLISECONDS }: { timeoutMilliseconds?: number } = {},
): Promise<unknown> {
  const given = args === undefined ? {} : { arguments: args }
  const text = encodeCommand({ id: null, command, ...given }).trim()
  const answer = await virsh(vm, ['qemu-monitor-command', vm.uuid, text], timeoutMilliseconds)
  const message = decodeMessage(answer.trim())
  if (message.kind === 'answer') return message.value
  const words = message.kind === 'error' ? message.description : `no answer to ${command}`
  throw new VmcacheError('HYPERVISOR', `QEMU refuses: ${words}`)
}

/** The output of virsh. Its words are those of the C locale, whatever the engine's is. */
async function virsh(where: Where, args: readonly string[], milliseconds = COMMAND_MILLISECONDS): Promise<string> {
  try {
    const { stdout } = await execa('virsh', ['-q', '-c', connectionOf(where), ...args], {
      stdin: 'ignore',
      timeout: milliseconds + MARGIN_MILLISECONDS,
      env: { LC_ALL: 'C' },
    })
    return stdout
  } catch (error) {
    throw virshError(args, error)
  }
}

function virshError(args: readonly string[], error: unknown): VmcacheError {
  const { code, stderr = '', timedOut } = error as { code?: string; stderr?: string; timedOut?: boolean }
  const words = stderr
    .trim()
    .replace(/^error: /gm, '')
    .replace(/\s*\n\s*/g, ': ')
  if (code === 'ENOENT') {
    return new VmcacheError('HYPERVISOR', 'virsh is not installed', {
      hint: 'install the clients of libvirt, for example: apt-get install libvirt-clients',
      cause: error,
    })
  }
  if (timedOut === true) {
    return new VmcacheError('HYPERVISOR', `virsh ${args[0]} does not end in time`, { details: { timeout: true } })
  }
  if (/failed to get domain|Domain not found/i.test(words)) return new VmcacheError('VM_NOT_FOUND', words)
  if (/domain is not running|is already active/.test(words)) return new VmcacheError('WRONG_STATE', words)
  return new VmcacheError('HYPERVISOR', `virsh ${args[0]} fails: ${words}`, { cause: error })
}

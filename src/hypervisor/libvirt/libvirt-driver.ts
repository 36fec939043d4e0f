import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'
import { VmcacheError } from '../../base/errors.js'
import type { VmLoad } from '../../model/idleness.js'
import type { VmDriver, VmIdentity, VmListener, VmMonitor } from '../driver.js'
import { decodeMessage, encodeCommand } from '../../protocol/qmp/message.js'
import { parseDomain } from './domain.js'
import { parseLoads } from './loads.js'
import { createVirsh } from './virsh.js'
import { watchEvents, type EventWatch } from './watch-events.js'

export interface LibvirtDriverOptions {
  readonly clock: Clock
  readonly random: Random
  readonly onChange: VmListener
}

/** Where domains are, for those of which nobody said anything else. */
export const DEFAULT_CONNECTION = 'qemu:///system'

/** Starting a domain prepares its network and storage. */
const START_MILLISECONDS = 60_000

/** Of all domains of a connection at once. */
const STATISTICS = ['domstats', '--raw', '--list-running', '--cpu-total', '--block']

type Where = Pick<VmIdentity, 'connect'>

/** Domains of libvirt: a VM is its UUID, whatever it is called. Nothing of a domain's definition is changed. */
export function createLibvirtDriver({ clock, random, onChange }: LibvirtDriverOptions): VmDriver {
  let watches = new Map<string, EventWatch>()
  const { run, close } = createVirsh(clock, random)
  const virsh = (where: Where, words: readonly string[], milliseconds?: number): Promise<string> =>
    run(connectionOf(where), words, milliseconds)

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
      close()
    },
  }
}

function connectionOf({ connect }: Where): string {
  return connect ?? DEFAULT_CONNECTION
}

/** The same JSON without characters that are none of ASCII. */
function asciiJson(text: string): string {
  return text.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

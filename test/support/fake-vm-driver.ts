/**
 * VMs in memory, with as much of QEMU's monitor as vmcache uses: a block graph that is observed and changed by commands. What happens is noted
 * in `log`; `fail` plants the failure of a command.
 */
import { VmcacheError } from '../../src/base/errors.js'
import type { DeclaredDisk, VmDriver, VmIdentity, VmMonitor } from '../../src/hypervisor/driver.js'
import { loadMemory, saveMemory } from '../../src/hypervisor/memory-stream.js'
import type { VmLoad } from '../../src/model/idleness.js'
import type { DriverName } from '../../src/model/vm.js'

const MIB = 2 ** 20

interface FakeNode {
  driver: string
  file: string | null
  fileName: string
  sizeBytes: number
}

export interface FakeVm {
  readonly uuid: string
  name: string
  state: 'off' | 'prelaunch' | 'inmigrate' | 'running' | 'paused' | 'postmigrate' | 'io-error'
  /** Why its memory cannot be saved. */
  blocked: string[]
  /** Nothing is left of it when it ends. */
  isTransient: boolean
  /** Makes its definition longer. */
  description: string
  /** What QEMU it is. */
  qemu: { version: [number, number, number]; machine: string }
  disks: DeclaredDisk[]
  readonly nodes: Map<string, FakeNode>
  /** Node of each device. */
  readonly drives: Map<string, string>
  /** What it has done since it was started. */
  load: VmLoad
  /** What the agent of its guest does about the clock; null where it has none. */
  agent: ((signal: AbortSignal) => Promise<void>) | null
  /** Whether somebody looks at its console. */
  isWatched: boolean
}

export interface FakeVmDriver extends VmDriver {
  readonly vms: Map<string, FakeVm>
  readonly log: string[]
  /** Commands that fail from now on, with the error. */
  readonly fail: Map<string, VmcacheError>
  /** Called before each command that changes something. */
  onCommand: (command: string) => void
  /** A VM with raw images, one for each target. */
  add(name: string, images: Readonly<Record<string, string>>, uuid?: string): FakeVm
  /** Starts it as somebody else would: on its own storage. */
  startByHand(name: string): void
  /** Where the requests of a disk go: a path, or the socket of a server. */
  pathOf(name: string, target: string): string
}

/** `sizeOf`: of an image, or of what is served at a socket. */
export function createFakeVmDriver(driver: DriverName, sizeOf: (path: string) => number): FakeVmDriver {
  const vms = new Map<string, FakeVm>()
  const log: string[] = []
  const fail = new Map<string, VmcacheError>()

  const known = ({ uuid }: Pick<VmIdentity, 'uuid'>): FakeVm => {
    const vm = vms.get(uuid)
    if (vm !== undefined) return vm
    throw new VmcacheError('VM_NOT_FOUND', `failed to get domain '${uuid}'`)
  }
  const called = (name: string): FakeVm => [...vms.values()].find((vm) => vm.name === name)!
  const powerOn = (vm: FakeVm, state: FakeVm['state']): void => {
    vm.state = state
    vm.nodes.clear()
    for (const { target, path } of vm.disks) {
      const node = { fileName: path!, sizeBytes: sizeOf(path!) }
      vm.nodes.set(`${target}-storage`, { ...node, driver: 'file', file: null })
      vm.nodes.set(`${target}-format`, { ...node, driver: 'raw', file: `${target}-storage` })
      vm.drives.set(target, `${target}-format`)
    }
  }
  /** A VM of `vm define` appears when it is started. */
  const defined = (vm: VmIdentity): FakeVm => {
    if (vm.definition === null || vms.has(vm.uuid)) return known(vm)
    const images = Object.fromEntries(vm.definition.disks.map(({ target, path }) => [target, path]))
    return fake.add(vm.name, images, vm.uuid)
  }

  const commands: Record<string, (vm: FakeVm, args: Record<string, never>) => unknown> = {
    'query-status': ({ state }) => ({ running: state === 'running', status: state }),
    'query-named-block-nodes': ({ nodes }) => [...nodes].map(([name, node]) => info(name, node)),
    'query-block': ({ drives, nodes }) =>
      [...drives].map(([device, node]) => ({
        qdev: `/machine/peripheral/${device}/virtio-backend`,
        removable: false,
        inserted: info(node, nodes.get(node)!),
      })),
    'x-debug-query-block-graph': ({ nodes }) => {
      const names = [...nodes.keys()]
      return {
        nodes: names.map((name, id) => ({ id, type: 'block-driver', name })),
        edges: names.flatMap((name, parent) => {
          const { file } = nodes.get(name)!
          return file === null ? [] : [{ parent, child: names.indexOf(file), name: 'file' }]
        }),
      }
    },
    'query-version': ({ qemu: { version } }) => ({
      qemu: { major: version[0], minor: version[1], micro: version[2] },
    }),
    'query-migrate': ({ state, blocked }) => {
      if (state === 'postmigrate' || state === 'paused') return { status: 'completed' }
      return blocked.length === 0 ? {} : { 'blocked-reasons': blocked }
    },
    stop: (vm) => void (vm.state = 'paused'),
    'migrate-set-parameters': () => ({}),
    migrate: (vm) => void (vm.state = 'postmigrate'),
    'migrate-incoming': (vm) => void (vm.state = 'paused'),
    migrate_cancel: () => ({}),
    'query-vnc-servers': ({ isWatched }) => [{ clients: isWatched ? [{}] : [] }],
    'query-spice': () => ({}),
    'qom-get': ({ drives, qemu }, { path, property }) =>
      property === 'drive' ? drives.get(String(path).split('/').at(-1)!) : `${qemu.machine}-machine`,
    'qom-set': ({ drives }, { path, value }) => void drives.set(String(path).split('/').at(-1)!, value),
    'blockdev-add': ({ nodes }, options) => {
      const { 'node-name': name, driver: kind, file, server } = options as Record<string, never>
      const socket = (server as { path?: string } | undefined)?.path
      const below = nodes.get(file ?? '')
      const fileName = socket === undefined ? (below?.fileName ?? '') : `nbd+unix:///?socket=${socket}`
      const sizeBytes = socket === undefined ? (below?.sizeBytes ?? 0) : sizeOf(socket)
      nodes.set(name, { driver: kind, file: file ?? null, fileName, sizeBytes })
    },
    'blockdev-del': ({ nodes }, { 'node-name': name }) => void nodes.delete(name),
    'blockdev-reopen': ({ nodes }, { options }) => {
      for (const { 'node-name': name, file } of options as { 'node-name': string; file: string }[]) {
        nodes.set(name, { ...nodes.get(name)!, file })
      }
    },
  }

  const turnOn = (vm: VmIdentity, state: FakeVm['state']): void => {
    const failure = fail.get('start')
    if (failure !== undefined) throw failure
    powerOn(defined(vm), state)
  }

  const monitorOf = (vm: FakeVm): VmMonitor => ({
    yank: null,
    async execute(command, args = {}) {
      if (!command.startsWith('query') && !command.startsWith('x-') && command !== 'qom-get') {
        fake.onCommand(command)
        log.push(`${command} ${JSON.stringify(args).match(/"node-name":"([^"]*)"/)?.[1] ?? ''}`.trim())
      }
      const failure = fail.get(command)
      if (failure !== undefined) throw failure
      return commands[command]!(vm, args as Record<string, never>)
    },
  })

  const fake: FakeVmDriver = {
    name: driver,
    capabilities: { definesVms: driver === 'qemu', outOfBand: false, cheapMonitors: driver === 'qemu' },
    vms,
    log,
    fail,
    onCommand: () => {},
    add(name, images, uuid = `uuid-of-${name}`) {
      const disks = Object.entries(images).map(([target, path]) => ({
        ...{ target, device: target, path, stopsOnError: true, discard: true, io: null, whyDirect: null },
      }))
      const vm: FakeVm = {
        ...{ uuid, name, state: 'off', disks, blocked: [], isTransient: false, description: '' },
        qemu: { version: [7, 2, 22], machine: 'pc-q35-7.2' },
        ...{ nodes: new Map(), drives: new Map() },
        ...{ load: { cpuSeconds: 0, diskRequests: 0 }, isWatched: false, agent: null },
      }
      vms.set(uuid, vm)
      return vm
    },
    startByHand: (name) => powerOn(called(name), 'running'),
    pathOf(name, target) {
      const { drives, nodes } = called(name)
      const top = nodes.get(drives.get(target)!)!
      const { fileName } = top.file === null ? top : nodes.get(top.file)!
      return fileName.replace(/^.*socket=/, '')
    },
    async find(nameOrUuid) {
      const vm = called(nameOrUuid) ?? known({ uuid: nameOrUuid })
      return { uuid: vm.uuid, name: vm.name }
    },
    async declared(vm) {
      const { name, disks } = defined(vm)
      return { name, memoryBytes: 256 * MIB, disks }
    },
    async monitor(vm) {
      const found = defined(vm)
      return found.state === 'off' ? null : monitorOf(found)
    },
    async loads(identities) {
      const running = identities.flatMap(({ uuid }) => vms.get(uuid) ?? []).filter(({ state }) => state === 'running')
      return new Map(running.map((vm) => [vm.uuid, vm.load]))
    },
    async startPaused(vm) {
      log.push('start')
      turnOn(vm, 'prelaunch')
    },
    async resume(vm) {
      log.push('cont')
      known(vm).state = 'running'
    },
    async setGuestClock(vm, signal) {
      const { agent } = known(vm)
      if (agent === null) return false
      await agent(signal)
      log.push('set clock')
      return true
    },
    async powerDown(vm) {
      log.push('power-down')
      known(vm).state = 'off'
    },
    async destroy(vm) {
      log.push('destroy')
      known(vm).state = 'off'
    },
    async lastingDefinition(vm) {
      if (known(vm).isTransient) throw new VmcacheError('REFUSED', `VM ${vm.name} is transient`)
      return driver === 'qemu' ? null : definitionOf(known(vm))
    },
    memoryDirectory: async () => '/nonexistent',
    save: (vm, socket, watch) => saveMemory(monitorOf(known(vm)), socket, watch),
    async restore(vm, { socket, definition, prepare }, watch) {
      log.push('start, awaiting memory')
      turnOn(vm, 'inmigrate')
      const found = known(vm)
      const monitor = monitorOf(found)
      try {
        // A domain is what it was when it was suspended, and can be reached when libvirt has restored it.
        if (driver === 'libvirt') expectSame(definitionOf(found), definition)
        else await prepare(monitor)
        await loadMemory(monitor, { socket, incoming: `${socket}.incoming` }, watch)
        if (driver === 'libvirt') await prepare(monitor)
      } catch (error) {
        await fake.destroy(vm)
        throw error
      }
    },
    watch: () => {},
    close: async () => {},
  }
  return fake
}

function definitionOf({ uuid, disks, description }: FakeVm): string {
  return `<domain>${uuid} ${description}${disks.map(({ target }) => target).join()}</domain>`
}

function expectSame(now: string, then: string | null): void {
  if (now !== then) throw new VmcacheError('HYPERVISOR', `restored as ${then}, expected ${now}`)
}

function info(name: string, { driver, fileName, sizeBytes }: FakeNode) {
  return {
    'node-name': name,
    ...{ drv: driver, file: fileName, ro: false, detect_zeroes: 'off' },
    cache: { direct: true, 'no-flush': false },
    image: { 'virtual-size': sizeBytes, filename: fileName },
  }
}

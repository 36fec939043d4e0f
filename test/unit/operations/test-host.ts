/**
 * A host for tests of operations: a fake engine and devices in memory, everything else real (state database, stamps and
 * image files in a temporary directory). `start` begins the life of an engine, `kill` and `close` end it.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { systemClock, type Clock } from '../../../src/base/clock.js'
import { VmcacheError } from '../../../src/base/errors.js'
import { SeededRandom } from '../../../src/base/random.js'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import type { OperationsDependencies } from '../../../src/operations/control-plane.js'
import { createOperations, type ControlPlaneHandle } from '../../../src/operations/create-operations.js'
import type { Machine } from '../../../src/operations/machine.js'
import type { OperationContext, Operations } from '../../../src/operations/operation.js'
import type { PreviousEnd } from '../../../src/operations/previous-end.js'
import type {
  AttachRequest,
  CreateCacheRequest,
  JobDocument,
  Targets,
} from '../../../src/protocol/control/documents.js'
import type { RestoreReport } from '../../../src/operations/restore.js'
import { openState } from '../../../src/state/open-state.js'
import type { StateStore } from '../../../src/state/state-store.js'
import type { DriverName } from '../../../src/model/vm.js'
import { createFakeVmDriver, type FakeVmDriver } from '../../support/fake-vm-driver.js'
import { createFakeEngine, createFakeStorage, type FakeEngine, type FakeStorage } from '../../support/fake-engine.js'

export const MIB = 2 ** 20
export const GIB = 2 ** 30

export interface TestHost {
  readonly directory: string
  readonly stateUrl: string
  readonly storage: FakeStorage
  readonly engine: FakeEngine
  readonly state: FaultyState
  readonly operations: Operations
  readonly handle: ControlPlaneHandle
  readonly report: RestoreReport
  /** Sockets that are open, as the supervisor holds them: they outlive engines. */
  readonly sockets: Set<string>
  readonly locks: Set<string>
  /** Domains that libvirt's hook does not let start. */
  readonly suspended: readonly string[]
  readonly jobs: JobDocument[]
  /** VMs outlive engines. */
  readonly drivers: Readonly<Record<DriverName, FakeVmDriver>>
  /** What the supervisor answers from now on; null: it does what it is asked. */
  failSockets: Error | null
  failSocketClose: Error | null
  failLocks: Error | null
  /** Where checkpoints go that are to be on storage, from the next start on. */
  checkpointDirectory: string | null
  /** Is shown the engine of the next start before anything else happens to it. */
  prepare: (engine: FakeEngine) => void
  /** Milliseconds by which the clock is ahead of the machine's. */
  ahead: number
  /** The same of the clock that only runs. */
  aheadMonotonic: number
  /** Makes an image file; returns its path. */
  image(name: string, bytes?: number): string
  start(end?: Partial<PreviousEnd>, machine?: Partial<Machine>, withoutCaches?: string): Promise<void>
  /** The engine dies; nothing is written down. Returns how its supervisor saw it. */
  kill(): Promise<Partial<PreviousEnd>>
  /** With a time to drain: no engine follows it. */
  close(drainMilliseconds?: number): Promise<Partial<PreviousEnd>>
}

/** The state database, which goes away on request. */
export interface FaultyState extends StateStore {
  /** Every call fails from now on, or with a number only the call that many calls from now (1: the next). */
  fail(calls: 'all' | number): void
  mend(): void
}

export interface TestHostOptions {
  readonly name?: string
  /** Host ids are seeded by it. */
  readonly seed?: number
  /** Shares directory, images and perhaps the database of another host. */
  readonly beside?: TestHost
  readonly stateUrl?: string
  /** Devices of another life of this host. */
  readonly storage?: FakeStorage
}

let lives = 0

export async function testHost(options: TestHostOptions = {}): Promise<TestHost> {
  const directory = options.beside?.directory ?? mkdtempSync(join(tmpdir(), 'vmcache-operations-'))
  if (options.beside === undefined) onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const name = options.name ?? 'kvm07'
  const id = new SeededRandom(options.seed ?? 7).id()
  // A host that comes back draws other ids than it did before.
  const random = new SeededRandom(1000 + lives++)
  const runDirectory = join(directory, 'run', name)
  mkdirSync(runDirectory, { recursive: true })
  const stateUrl = options.stateUrl ?? `sqlite:${join(directory, `${name}.db`)}`
  const storage = options.storage ?? createFakeStorage(options.seed)
  const sockets = new Set<string>()
  const locks = new Set<string>()
  const jobs: JobDocument[] = []
  const clock: Clock = {
    ...systemClock,
    now: () => systemClock.now() + host.ahead,
    monotonic: () => systemClock.monotonic() + host.aheadMonotonic,
  }

  /** Of an image, or of the disk that is served at a socket. */
  const sizeOf = (path: string): number => host.engine.sizeAt(path) ?? statSync(path).size

  const host: Mutable<TestHost> = {
    directory,
    stateUrl,
    storage,
    sockets,
    locks,
    suspended: [],
    jobs,
    drivers: { qemu: createFakeVmDriver('qemu', sizeOf), libvirt: createFakeVmDriver('libvirt', sizeOf) },
    checkpointDirectory: null,
    prepare: () => {},
    ahead: 0,
    aheadMonotonic: 0,
    failSockets: null,
    failSocketClose: null,
    failLocks: null,
    engine: createFakeEngine(storage),
    state: faulty(await openState(stateUrl)),
    operations: undefined as never,
    handle: undefined as never,
    report: undefined as never,
    image(file, bytes = GIB) {
      const path = join(directory, file)
      writeFileSync(path, '')
      truncateSync(path, bytes)
      const past = systemClock.now() / 1000 - 3600
      utimesSync(path, past, past)
      return path
    },
    async start(end = {}, machine = {}, withoutCaches) {
      host.engine = createFakeEngine(storage)
      host.prepare(host.engine)
      host.prepare = () => {}
      const dependencies: OperationsDependencies = {
        engine: host.engine,
        state: host.state,
        host: { id, name },
        stateDirectory: directory,
        checkpointDirectory: host.checkpointDirectory,
        runDirectory,
        controlSocket: join(runDirectory, 'control.sock'),
        sockets: {
          listen: async (path) => {
            if (host.failSockets !== null) throw host.failSockets
            sockets.add(path)
            return 42
          },
          close: async (path) => {
            if (host.failSocketClose !== null) throw host.failSocketClose
            sockets.delete(path)
          },
        },
        locks: {
          lock: async (path) => {
            if (host.failLocks !== null) throw host.failLocks
            locks.add(path)
          },
          unlock: async (path) => void locks.delete(path),
        },
        suspendedList: { write: async (vms) => void (host.suspended = vms.map(({ name }) => name)) },
        clock,
        random,
        version: '1.2.3',
        previousEnd: { kind: 'none', at: null, sameSupervisor: false, ...end },
        withoutCaches: withoutCaches ?? null,
        runningJobs: () => jobs,
        machine: { ...goodMachine, ...machine },
        drivers: host.drivers,
        idleLimits: { processorPercent: 3, requestsPerMinute: 100 },
      }
      host.handle = createOperations(dependencies)
      host.operations = host.handle.operations
      host.report = await host.handle.restore()
    },
    kill: async () => ({ kind: 'killed', at: new Date(clock.now()).toISOString(), sameSupervisor: true }),
    async close(drainMilliseconds = 0) {
      await host.handle.close({ drainMilliseconds })
      return { kind: 'clean', at: new Date(clock.now()).toISOString(), sameSupervisor: false }
    },
  }
  onTestFinished(() => host.state.close())
  await host.start()
  return host
}

type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] }

const goodMachine: Machine = {
  processId: 4711,
  nodeVersion: 'v20.19.2',
  threadPoolSize: 64,
  processors: 2,
  freeBytes: async () => 100 * GIB,
  fileSystemOf: async () => 1,
  isWritable: async () => true,
  groupExists: async () => true,
  installedUnit: async () => '/etc/systemd/system/vmcache.service',
}

function faulty(state: StateStore): FaultyState {
  let failing: 'all' | number | null = null
  const trip = () => {
    if (failing === null) return
    if (failing === 'all') throw new VmcacheError('FAILED', 'the state database is away')
    if (--failing > 0) return
    failing = null
    throw new VmcacheError('FAILED', 'the state database failed once')
  }
  const wrap = <Target extends object>(target: Target): Target =>
    new Proxy(target, {
      get(object, key) {
        const value = Reflect.get(object, key) as unknown
        if (key === 'close' || key === 'label') return value
        if (typeof value === 'object' && value !== null) return wrap(value)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]) => {
          trip()
          return (value as (...args: unknown[]) => unknown).apply(object, args)
        }
      },
    })
  const { close, label } = state
  const wrapped = Object.fromEntries(Object.keys(state).map((key) => [key, wrap(state)[key as keyof StateStore]]))
  return {
    ...wrapped,
    close,
    label,
    fail: (calls) => void (failing = calls),
    mend: () => void (failing = null),
  } as FaultyState
}

export const context: OperationContext = {
  progress: () => {},
  signal: new AbortController().signal,
  who: 'root (uid 0)',
}

export function createRequest(changes: Partial<CreateCacheRequest> = {}): CreateCacheRequest {
  return {
    name: 'fast',
    devices: [{ path: '/cache/a', sizeBytes: 4 * GIB }],
    blockSizeBytes: 4096,
    chunkSizeBytes: 16 * MIB,
    force: false,
    dryRun: false,
    ...changes,
  }
}

export function attachRequest(origin: string, changes: Partial<AttachRequest> = {}): AttachRequest {
  return {
    cache: 'fast',
    origin,
    name: null,
    mode: 'write-through',
    replacement: 's3-fifo',
    minBytes: 0,
    maxBytes: null,
    shares: 100,
    writeBack: DEFAULT_WRITE_BACK,
    readOnly: false,
    exclusive: false,
    dryRun: false,
    ...changes,
  }
}

export function targets(names: string[], changes: Partial<Targets> = {}): Targets & { dryRun: boolean } {
  return { names, all: false, exclude: [], dryRun: false, ...changes }
}

export function detachRequest(names: string[], changes: Partial<ReturnType<typeof plainDetach>> = {}) {
  return { ...plainDetach(names), ...changes }
}

const plainDetach = (names: string[]) => ({ ...targets(names), discardDirty: false, force: false })

import type { Clock } from '../base/clock.js'
import type { Logger } from '../base/logger.js'
import type { Random } from '../base/random.js'
import type { Engine } from '../engine/engine.js'
import type { OpenEngineOptions } from '../engine/io-engine.js'
import type { Configuration } from '../model/configuration.js'
import { createLibvirtDriver } from '../hypervisor/libvirt/libvirt-driver.js'
import { createQemuDriver } from '../hypervisor/qemu/qemu-driver.js'
import { createOperations } from '../operations/create-operations.js'
import { defaultDiskName } from '../model/names.js'
import { systemMachine } from '../operations/machine.js'
import type { RestoreReport } from '../operations/restore.js'
import { VMS } from '../operations/known-vm.js'
import { select } from '../operations/targets.js'
import { controlSocketPath } from '../protocol/control/control-client.js'
import type { EngineDocument } from '../protocol/control/documents.js'
import { openState } from '../state/open-state.js'
import { openControlServer } from './control-server.js'
import { createControlService, type RunningEngine } from './control-service.js'
import { createEngineControl } from './engine-control.js'
import { socketGroups } from './groups.js'
import { hostId } from './host-id.js'
import { openJobs } from './jobs.js'
import type { LoadedConfiguration } from './load-configuration.js'
import { statePassword } from './state-password.js'
import type { SupervisorLink } from './supervisor-link.js'
import type { PreviousEnd } from '../operations/previous-end.js'
import { VERSION } from './version.js'
import { suspendedList } from './suspended-list.js'
import { startVmLoop, type VmLoop } from './vm-loop.js'

export interface RunOptions {
  readonly configuration: LoadedConfiguration
  readonly reload: () => Promise<LoadedConfiguration>
  /** A private engine: its sockets are for one user. */
  readonly user: boolean
  readonly previousEnd: PreviousEnd
  /** Why disks are served without their caches; null where they are served through them. */
  readonly withoutCaches: string | null
  readonly link: Pick<SupervisorLink, 'sockets' | 'locks' | 'say'>
  readonly openEngine: (options: OpenEngineOptions) => Promise<Engine>
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface RunningProcess {
  /** Ends when every thread that serves disks has answered. */
  responds(): Promise<void>
  /** Closes everything that was opened, last first. Where no other engine follows, origins get what they lack, as far as time allows. */
  close(options: { isLast: boolean }): Promise<void>
}

/** How long requests wait for an engine that starts, and an engine that ends for those in flight. */
const START_WAIT_MILLISECONDS = 30_000
const ANSWER_MILLISECONDS = 2000
/** Of the time that an engine has to end, for writing to origins what they lack; the rest is for closing. */
const DRAIN_SHARE = 0.75
/** How often what waits (storage that is not mounted yet) is tried again. */
const RETRY_MILLISECONDS = 15_000

/**
 * Opens, in this order: the control socket (which says `starting`), the state database, the data plane, the operations; then
 * serves again what was attached. Ends when all of it runs.
 */
export async function runEngine(options: RunOptions): Promise<RunningProcess> {
  const { clock, configuration, link, logger, random } = options
  const { values } = configuration
  const host = { id: await hostId(values['state-dir'], random), name: values['host-name'] }
  const controlSocket = controlSocketPath(values['run-dir'])
  const groups = options.user ? { control: null, disk: null } : socketGroups(values)
  const closers: (() => Promise<unknown>)[] = []

  let run: (engine: RunningEngine) => void = () => undefined
  const service = createControlService({
    startingDocument: startingDocument({ host, values, controlSocket, startedAt: new Date(clock.now()).toISOString() }),
    running: new Promise((resolve) => (run = resolve)),
    startWaitMilliseconds: START_WAIT_MILLISECONDS,
  })
  const server = await openControlServer(controlSocket, { mode: 0o660, gid: groups.control }, service, logger)
  closers.push(() => server.close(ANSWER_MILLISECONDS))

  const state = await openState(values['state-url'], await statePassword(values))
  closers.push(() => state.close())
  const engine = await options.openEngine({
    ioThreads: values['io-threads'],
    logLevel: values['log-level'],
    hostId: host.id,
    clock,
    logger,
  })
  let vmLoop: VmLoop | null = null
  const onChange = (vm: string | null): void => vmLoop?.wake(vm)
  const drivers = {
    qemu: createQemuDriver({ runDirectory: values['run-dir'], clock, random, onChange }),
    libvirt: createLibvirtDriver({ runDirectory: values['run-dir'], qemuGroup: groups.disk, clock, random, onChange }),
  }
  closers.push(() => Promise.all(Object.values(drivers).map((driver) => driver.close())))
  const jobs = await openJobs({ store: state.jobs, host: host.id, clock, random, logger })
  const plane = createOperations({
    engine,
    state,
    host,
    stateDirectory: values['state-dir'],
    checkpointDirectory: values['checkpoint-dir'],
    runDirectory: values['run-dir'],
    controlSocket,
    sockets: link.sockets,
    suspendedList: suspendedList(values['state-dir']),
    locks: link.locks,
    clock,
    random,
    version: VERSION,
    previousEnd: options.previousEnd,
    withoutCaches: options.withoutCaches,
    runningJobs: () => jobs.list().filter((job) => job.state === 'running'),
    machine: systemMachine,
    drivers,
    idleLimits: {
      processorPercent: values['idle-processor-percent'],
      requestsPerMinute: values['idle-requests-per-minute'],
    },
  })
  let drainMilliseconds = 0
  closers.push(() => plane.close({ drainMilliseconds }))
  closers.push(() => jobs.close())
  link.say({ say: 'restoring' })
  report(await plane.restore(), logger)
  const retrying = setInterval(() => {
    plane.retry().catch((error: unknown) => logger.warn({ err: error }, 'what waits cannot be tried again'))
  }, RETRY_MILLISECONDS)
  closers.push(async () => clearInterval(retrying))
  const loop = startVmLoop({
    reconcile: plane.reconcileVms,
    observe: plane.observeActivities,
    clock,
    logger,
  })
  vmLoop = loop
  closers.push(() => loop.stop())
  const { operations } = plane
  run({
    operations,
    jobs,
    control: createEngineControl({ ...options, engine, operations, jobs, say: link.say, version: VERSION }),
    disksOf: (targets) => select(targets, plane.diskNames()).names,
    vmsOf: (targets) => select(targets, plane.vmNames(), VMS).names,
    diskNameOf: defaultDiskName,
  })
  return {
    responds: () => engine.responds(),
    async close({ isLast }) {
      if (isLast) drainMilliseconds = values['stop-timeout'] * 1000 * DRAIN_SHARE
      for (const closer of closers.reverse()) await closer()
    },
  }
}

/** What is not served after a start goes to the log; people see it in the status. */
function report({ caches, disks }: RestoreReport, logger: Logger): void {
  for (const { name, reason } of caches) if (reason !== null) logger.warn({ cache: name, reason }, 'cache is not open')
  for (const { name, reason } of disks) if (reason !== null) logger.warn({ disk: name, reason }, 'disk is not served')
  logger.info({ caches: caches.length, disks: disks.length }, 'engine runs')
}

/** What is known of an engine before its state and devices are open. */
function startingDocument(known: {
  host: { id: string; name: string }
  values: Configuration
  controlSocket: string
  startedAt: string
}): () => EngineDocument {
  return () => ({
    host: known.host.name,
    hostId: known.host.id,
    state: 'starting',
    pid: process.pid,
    version: VERSION,
    startedAt: known.startedAt,
    socket: known.controlSocket,
    ioThreads: known.values['io-threads'],
    ioBackend: 'unknown',
    caches: [],
    degraded: [],
    safeToReboot: { now: false, reasons: ['the engine is starting'], secondsUntil: null },
  })
}

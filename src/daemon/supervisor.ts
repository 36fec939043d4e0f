import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { systemClock } from '../base/clock.js'
import { messageOf, VmcacheError } from '../base/errors.js'
import type { Logger } from '../base/logger.js'
import { systemRandom } from '../base/random.js'
import { bootId, notifyServiceManager } from '../base/system-calls.js'
import { lockImage } from '../base/image-lock.js'
import { makeDirectories } from '../protocol/control/make-directories.js'
import { threadPoolSize } from '../model/configuration.js'
import { supervisorStatusPath, type SupervisorStatus } from '../protocol/control/supervisor-status.js'
import { createBackOff } from './back-off.js'
import type { DaemonArguments } from './daemon-arguments.js'
import { spawnEngine } from './engine-child.js'
import { createEngineKeeper, type EngineKeeper } from './engine-keeper.js'
import { socketGroups } from './groups.js'
import { imageLockList } from './image-lock-list.js'
import { createImageLockOwner } from './image-lock-owner.js'
import { lockInstance } from './instance-lock.js'
import { loadConfiguration, type LoadedConfiguration } from './load-configuration.js'
import { createSocketOwner, removeStaleSockets } from './socket-owner.js'
import { tenureFile } from './tenure.js'

/** A service manager stops waiting for an engine that failed so often: what comes after us must not wait for ever. */
const HOPELESS_FAILURES = 3

/**
 * The supervisor: a small process that outlives engines. It owns what must not go with one (the listening sockets of the
 * disks, the locks on images), keeps one engine running, and knows how each ended. Ends when it is told to (SIGTERM,
 * SIGINT, or by the engine on behalf of an administrator), after the engine has closed.
 */
export async function runSupervisor(args: DaemonArguments, configuration: LoadedConfiguration, logger: Logger) {
  const { 'state-dir': stateDir, 'run-dir': runDir } = configuration.values
  // QEMU reaches its sockets through the machine's run-dir; everything else is for one user only.
  makeDirectory(stateDir, 0o700)
  makeDirectory(runDir, args.user ? 0o700 : 0o755)
  const lockDescriptors = [await lockInstance(stateDir, systemClock), await lockInstance(runDir, systemClock)]
  removeStaleSockets(runDir)

  const gid = args.user ? null : socketGroups(configuration.values).disk
  const sockets = createSocketOwner(runDir, { mode: gid === null ? 0o600 : 0o660, gid })
  const locks = createImageLockOwner({
    acquire: lockImage,
    list: imageLockList(stateDir),
    clock: systemClock,
    logger,
  })
  // Before anything else: until an engine runs, nothing but these locks keeps others off images that lack writes.
  await locks.retake()
  const report = statusReporter(runDir, logger)
  const supervisorId = systemRandom.id()

  let current = configuration
  const keeper: EngineKeeper = createEngineKeeper({
    tenures: tenureFile(stateDir),
    bootId: bootId(),
    supervisorId,
    stopTimeoutMilliseconds: configuration.values['stop-timeout'] * 1000,
    hangTimeoutMilliseconds: configuration.values['hang-timeout'] * 1000,
    backOff: createBackOff(),
    clock: systemClock,
    logger,
    onStatus: report,
    spawn(previousEnd, withoutCaches, kept) {
      return spawnEngine({
        start: { flags: args.flags, user: args.user, previousEnd, withoutCaches },
        threadPoolSize: threadPoolSize(current.values),
        lockDescriptors,
        async serve(request) {
          const { path } = request
          if (request.what === 'listen') return sockets.listen(path)
          if (request.what === 'close') sockets.close(path)
          else if (request.what === 'lock') await locks.lock(path, request.disk)
          else await locks.unlock(path)
          return null
        },
        onMessage(message) {
          switch (message.say) {
            case 'restoring':
              return kept.restoring()
            case 'running':
              return kept.running()
            case 'alive':
              return kept.alive()
            case 'failed':
              return kept.failed(message.reason)
            case 'stop-all':
              return keeper.stop()
            case 'replace':
              return replace()
          }
        },
      })
    },
  })

  /** The next engine reads the configuration again; a broken one keeps the engine that runs. */
  function replace(): void {
    loadConfiguration({ ...args, environment: process.env }).then(
      (loaded) => {
        current = loaded
        keeper.replace()
      },
      (error: unknown) => logger.error({ err: error }, `the engine is not replaced: ${messageOf(error)}`),
    )
  }

  const handlers: [NodeJS.Signals, () => void][] = [
    ['SIGTERM', keeper.stop],
    ['SIGINT', keeper.stop],
    ['SIGHUP', replace],
    ['SIGUSR1', keeper.hold],
    ['SIGUSR2', keeper.release],
  ]
  for (const [signal, handler] of handlers) process.on(signal, handler)
  // Timers of the clock do not keep a process alive, and between two engines there is nothing else.
  const alive = setInterval(() => undefined, 2 ** 30)
  try {
    await keeper.run()
  } finally {
    clearInterval(alive)
    for (const [signal, handler] of handlers) process.off(signal, handler)
    sockets.closeAll()
    await locks.releaseAll()
    rmSync(supervisorStatusPath(runDir), { force: true })
  }
}

/** Tells the world how the engine is: in the status file, and to the service manager where one waits. */
function statusReporter(runDir: string, logger: Logger): (engine: SupervisorStatus['engine']) => void {
  const startedAt = new Date().toISOString()
  const path = supervisorStatusPath(runDir)
  return (engine) => {
    const status: SupervisorStatus = { pid: process.pid, startedAt, engine }
    const isUp = engine.state === 'running' || engine.failures >= HOPELESS_FAILURES
    const why = engine.lastEnd === null ? '' : ` (${engine.lastEnd.reason})`
    try {
      writeFileSync(`${path}.new`, `${JSON.stringify(status)}\n`)
      // Also for those who may not use the control socket, whatever the umask.
      chmodSync(`${path}.new`, 0o644)
      renameSync(`${path}.new`, path)
      notifyServiceManager(`${isUp ? 'READY=1\n' : ''}STATUS=engine ${engine.state}${engine.failures > 0 ? why : ''}`)
    } catch (error) {
      logger.warn({ err: error }, 'the status of the engine cannot be told')
    }
  }
}

function makeDirectory(path: string, mode: number): void {
  try {
    // A directory that is already there keeps the mode that somebody gave it; ours does not depend on the umask.
    if (makeDirectories(path)) chmodSync(path, mode)
  } catch (error) {
    throw new VmcacheError('DENIED', `directory ${path} cannot be used: ${messageOf(error)}`, {
      hint: 'start the engine as root, or a private one with --user',
      cause: error,
    })
  }
}

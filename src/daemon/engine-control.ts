import type { Clock } from '../base/clock.js'
import { VmcacheError } from '../base/errors.js'
import type { Engine } from '../engine/engine.js'
import type { OperationContext, Operations } from '../operations/operation.js'
import { connectedClients } from './connected-clients.js'
import type { EngineControl } from './control-service.js'
import type { Jobs } from './jobs.js'
import type { LoadedConfiguration } from './load-configuration.js'
import { processMetrics } from './process-metrics.js'
import type { SupervisorLink } from './supervisor-link.js'

export interface EngineControlOptions {
  readonly engine: Pick<Engine, 'disks' | 'metrics'>
  readonly operations: Pick<Operations, 'cache.detach'>
  readonly jobs: Jobs
  readonly configuration: LoadedConfiguration
  /** Reads the configuration again, as the next engine would. */
  readonly reload: () => Promise<LoadedConfiguration>
  readonly say: SupervisorLink['say']
  readonly version: string
  readonly clock: Clock
}

/** What an engine does to itself, through its supervisor. */
export function createEngineControl(options: EngineControlOptions): EngineControl {
  const { configuration, engine, jobs, operations, say } = options
  return {
    async stop({ detach, force }, context) {
      if (detach) await detachAll(operations, force, context)
      else if (!force) await refuseWithClients(engine)
      say({ say: 'stop-all' })
      return { changed: true }
    },
    async restart() {
      // A broken configuration must not cost the engine that runs.
      await options.reload()
      say({ say: 'replace' })
      return { changed: true }
    },
    configuration: () => ({
      values: Object.entries(configuration.values).map(([key, value]) => ({
        key,
        value,
        source: configuration.sources[key as keyof typeof configuration.sources],
      })),
    }),
    async metrics() {
      const running = jobs.list().filter(({ state }) => state === 'running').length
      return `${await engine.metrics()}${processMetrics(options.version, running, options.clock)}`
    },
  }
}

async function detachAll(operations: Pick<Operations, 'cache.detach'>, force: boolean, context: OperationContext) {
  const request = { names: [], all: true, exclude: [], discardDirty: false, force, dryRun: false }
  const { results } = await operations['cache.detach'](request, context)
  const failed = results.find((result) => !result.ok)
  if (failed === undefined) return
  throw new VmcacheError(
    'REFUSED',
    `the engine goes on: ${failed.error?.message ?? `${failed.name} is still attached`}`,
    {
      details: { results },
    },
  )
}

/** A VM would see its disk stand still until an engine runs again. */
async function refuseWithClients(engine: Pick<Engine, 'disks'>): Promise<void> {
  const disks = await engine.disks()
  const clients = await connectedClients(disks.map(({ socket }) => socket))
  const used = disks.filter(({ socket }) => clients.get(socket) !== 0).map(({ disk }) => disk)
  if (used.length === 0) return
  const names = used.length > 3 ? `${used.slice(0, 2).join(', ')} and ${used.length - 2} more` : used.join(', ')
  throw new VmcacheError('REFUSED', `clients are connected to ${names}: they would wait for the next engine`, {
    hint: 'end them, or use --detach, or --force; "vmcache engine restart" replaces the engine without that',
    details: { disks: used },
  })
}

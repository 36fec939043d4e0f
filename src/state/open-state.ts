import { CamelCasePlugin, Kysely } from 'kysely'
import { VmcacheError } from '../base/errors.js'
import { cacheStore } from './cache-store.js'
import { checkpointStore } from './checkpoint-store.js'
import type { OpenDialect } from './dialect.js'
import { diskStore } from './disk-store.js'
import { eventStore } from './event-store.js'
import { hostStore } from './host-store.js'
import { jobStore } from './job-store.js'
import { leaseStore } from './lease-store.js'
import { migrate } from './migrate.js'
import { policyStore } from './policy-store.js'
import { openPostgresql } from './postgresql.js'
import type { Schema } from './schema.js'
import { openSqlite } from './sqlite.js'
import { stateError } from './state-error.js'
import type { StateStore, Stores } from './state-store.js'
import { tenureStore } from './tenure-store.js'
import { vmStore } from './vm-store.js'

/**
 * Opens the state database at `sqlite:PATH` or `postgres://...`, creates or upgrades its schema, and makes sure that it can
 * be written. A database that is damaged, belongs to another program or to a newer vmcache is named and left as it is.
 */
export async function openState(url: string, options: { password?: string } = {}): Promise<StateStore> {
  const opened = await openDialect(url, options.password)
  const db = new Kysely<Schema>({ dialect: opened.dialect, plugins: [new CamelCasePlugin()] })
  try {
    await migrate(db, opened)
  } catch (error) {
    await db.destroy().catch(() => {})
    throw stateError(opened.label, error)
  }
  const stores = storesOver(db, opened.label)
  return {
    ...stores,
    label: opened.label,
    isShared: opened.name === 'postgresql',
    load: (host) =>
      translated(opened.label, () =>
        db
          .transaction()
          .setIsolationLevel('repeatable read')
          .execute((transaction) => loadImage(storesOver(transaction, opened.label), host)),
      ),
    transaction: (work) =>
      translated(opened.label, () =>
        db.transaction().execute((transaction) => work(storesOver(transaction, opened.label))),
      ),
    close: () =>
      translated(opened.label, async () => {
        try {
          await opened.release()
        } finally {
          await db.destroy()
        }
      }),
  }
}

async function openDialect(url: string, password: string | undefined): Promise<OpenDialect> {
  if (/^postgres(ql)?:\/\/[^/]/.test(url) && URL.canParse(url)) return openPostgresql(url, password)
  const path = /^sqlite:(\/.+)$/.exec(url)?.[1]
  if (path === undefined) {
    throw new VmcacheError('BAD_CONFIG', `state URL ${JSON.stringify(url)} is not valid`, {
      hint: 'use sqlite:/ABSOLUTE/PATH or postgres://USER@HOST/DATABASE',
    })
  }
  try {
    return await openSqlite(path)
  } catch (error) {
    throw stateError(`sqlite:${path}`, error)
  }
}

async function loadImage(stores: Stores, host: string) {
  return {
    hosts: await stores.hosts.list(),
    caches: await stores.caches.list(host),
    disks: await stores.disks.list(host),
    leases: await stores.leases.list(host),
    tenures: await stores.tenures.list(host),
    vms: await stores.vms.list(host),
    checkpoints: await stores.checkpoints.list(host),
    policies: await stores.policies.list(host),
    jobs: await stores.jobs.list(host, { state: 'running' }),
  }
}

function storesOver(db: Kysely<Schema>, label: string): Stores {
  const guard = <Store extends object>(store: Store) => guarded(label, store)
  return {
    hosts: guard(hostStore(db)),
    caches: guard(cacheStore(db)),
    disks: guard(diskStore(db)),
    leases: guard(leaseStore(db)),
    tenures: guard(tenureStore(db)),
    vms: guard(vmStore(db)),
    checkpoints: guard(checkpointStore(db)),
    policies: guard(policyStore(db)),
    jobs: guard(jobStore(db)),
    events: guard(eventStore(db)),
  }
}

/** The store with the errors of its driver turned into ours. */
function guarded<Store extends object>(label: string, store: Store): Store {
  const methods = Object.entries(store) as [name: string, method: (...args: unknown[]) => Promise<unknown>][]
  return Object.fromEntries(
    methods.map(([name, method]) => [name, (...args: unknown[]) => translated(label, () => method(...args))]),
  ) as Store
}

async function translated<Result>(label: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    throw stateError(label, error)
  }
}

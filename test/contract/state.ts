import { afterEach, beforeEach, expect, test } from 'vitest'
import { Kysely, Migrator, sql } from 'kysely'
import { MIGRATIONS } from '../../src/state/migrations/migrations.js'
import { openState } from '../../src/state/open-state.js'
import type { CacheRecord } from '../../src/state/cache-store.js'
import type { CheckpointRecord } from '../../src/state/checkpoint-store.js'
import type { StoredDisk } from '../../src/state/disk-store.js'
import type { JobRecord } from '../../src/state/job-store.js'
import type { LeaseRecord } from '../../src/state/lease-store.js'
import type { PolicyRecord } from '../../src/state/policy-store.js'
import { openPostgresql } from '../../src/state/postgresql.js'
import { openSqlite } from '../../src/state/sqlite.js'
import type { StateStore } from '../../src/state/state-store.js'
import type { TenureRecord } from '../../src/state/tenure-store.js'
import type { StoredVm } from '../../src/state/vm-store.js'

const AT = '2026-11-20T10:00:00.000Z'
const LATER = '2026-11-20T11:00:00.000Z'

const cache: CacheRecord = {
  host: 'h1',
  name: 'fast',
  cacheId: 'c1',
  blockBytes: 4096,
  chunkBytes: 16 * 2 ** 20,
  createdAt: AT,
  devices: [
    { deviceId: 'd2', path: '/dev/b', sizeBytes: 2 ** 43, chunks: 524288 },
    { deviceId: 'd1', path: '/dev/a', sizeBytes: 2 ** 30, chunks: 63 },
  ],
}

const disk: StoredDisk = {
  host: 'h1',
  name: 'web01/vda',
  cache: 'fast',
  logId: 'l1',
  origin: '/images/web01.img',
  lease: 'stamp:1',
  socket: '/run/vmcache/disks/web01%2Fvda.sock',
  readOnly: false,
  exclusive: true,
  blockBytes: 65536,
  vm: { uuid: 'u1', target: 'vda' },
  createdAt: AT,
}

const lease: LeaseRecord = { origin: 'stamp:1', host: 'h1', disk: 'web01/vda', epoch: 1, changedAt: AT }

const tenure: TenureRecord = {
  host: 'h1',
  disk: 'web01/vda',
  origin: 'stamp:1',
  stampId: '1',
  epoch: 1,
  sizeBytes: 2 ** 44,
  inode: '18446744073709551615',
  modifiedAt: '1795168800123456789',
  kind: 'file',
  clockAhead: '-2000000000',
  ending: 'clean',
  endedAt: AT,
  held: true,
  lacksWrites: true,
}

const vm: StoredVm = {
  host: 'h1',
  uuid: 'u1',
  name: 'web01',
  driver: 'qemu',
  connect: null,
  definition: {
    memoryBytes: 2 ** 40,
    cpus: 4,
    accelerator: 'kvm',
    disks: [{ target: 'vda', path: '/images/é.img', format: 'raw' }],
    kernel: null,
    initrd: null,
    append: null,
    qemuArguments: ['-device', 'virtio-rng-pci'],
  },
  createdAt: AT,
}

const policies: PolicyRecord[] = [
  {
    ...{ host: 'h1', level: 'disk', object: 'web01/vda' },
    policy: { mode: 'write-back', minBytes: 2 ** 44, maxBytes: null, replacement: '/modules/é.js' },
  },
  { host: 'h1', level: 'host', object: '', policy: { shares: 50, suspendAt: '0 22 * * *', timeZone: null } },
  { host: 'h1', level: 'vm', object: 'u1', policy: { rapidSuspend: 'best-effort', idleTimeoutSeconds: 3600 } },
]

const checkpoint: CheckpointRecord = {
  id: 'k1',
  host: 'h1',
  vm: 'u1',
  place: { cache: 'fast' },
  leftover: null,
  state: 'suspended',
  bytes: 2 ** 41,
  storedBytes: 2 ** 40,
  createdAt: AT,
  why: 'idle 1 h (policy)',
  qemu: { version: '7.2.22', machine: 'pc-q35-7.2' },
  definition: "<domain type='kvm'>é\n</domain>\n",
  disks: [
    {
      ...{ target: 'vda', path: '/images/é.img', kind: 'file', sizeBytes: 2 ** 44 },
      ...{ inode: '18446744073709551615', modifiedAt: '1795168800123456789' },
    },
  ],
}

const job: JobRecord = {
  id: 'j1',
  host: 'h1',
  kind: 'disk.flush',
  object: 'disk web01/vda',
  state: 'running',
  who: 'root (uid 0)',
  request: { names: ['web01/vda'], all: false },
  progress: { done: 1, total: null, unit: 'bytes', note: null },
  createdAt: AT,
  endedAt: null,
  result: null,
  error: null,
}

/** Brings a new database to the schema of that step alone, and runs statements there. */
async function databaseOf(step: string, url: string, statements: readonly string[]): Promise<void> {
  const opened = url.startsWith('sqlite:')
    ? await openSqlite(url.slice('sqlite:'.length))
    : await openPostgresql(url, undefined)
  const db = new Kysely<unknown>({ dialect: opened.dialect })
  await opened.claim()
  const steps = MIGRATIONS.map(({ name, up }) => [name, { up: (on: Kysely<unknown>) => up(on, opened.name) }])
  const { error } = await new Migrator({
    db,
    provider: { getMigrations: async () => Object.fromEntries(steps) },
    migrationTableName: 'vmcache_migration',
    migrationLockTableName: 'vmcache_migration_lock',
  }).migrateTo(step)
  expect(error).toBeUndefined()
  for (const statement of statements) await sql.raw(statement).execute(db)
  await opened.release()
  await db.destroy()
}

/** What every state database does. `newUrl` gives the URL of a new, empty one. */
export function stateContract(newUrl: () => Promise<string>): void {
  let url: string
  let state: StateStore

  beforeEach(async () => {
    url = await newUrl()
    state = await openState(url)
  })
  afterEach(() => state.close())

  async function reopen(): Promise<void> {
    await state.close()
    state = await openState(url)
  }

  test('a new database is empty', async () => {
    expect(await state.load('h1')).toEqual({
      hosts: [],
      caches: [],
      disks: [],
      leases: [],
      tenures: [],
      vms: [],
      checkpoints: [],
      policies: [],
      jobs: [],
    })
  })

  test('what was saved is loaded in one call after the database was opened again, exactly', async () => {
    const host = { id: 'h1', name: 'kvm07', seenAt: AT }
    await state.hosts.save(host)
    await state.caches.save(cache)
    await state.disks.save(disk)
    expect(await state.leases.compareAndSet(null, lease)).toBe(true)
    await state.tenures.save(tenure)
    await state.vms.save(vm)
    await state.checkpoints.save({ ...checkpoint, state: 'suspending', disks: [] })
    await state.checkpoints.save(checkpoint)
    for (const policy of policies) await state.policies.save(policy)
    await state.jobs.save(job)
    await reopen()
    expect(await state.load('h1')).toEqual({
      hosts: [host],
      caches: [cache],
      disks: [disk],
      leases: [lease],
      tenures: [tenure],
      vms: [vm],
      checkpoints: [checkpoint],
      policies,
      jobs: [job],
    })
    expect(await state.load('h2')).toMatchObject({
      caches: [],
      disks: [],
      leases: [],
      tenures: [],
      vms: [],
      jobs: [],
      policies: [],
    })
  })

  test('saving again replaces, also with nulls and fewer devices', async () => {
    await state.caches.save(cache)
    await state.disks.save({ ...disk, exclusive: false })
    await state.tenures.save(tenure)
    const changed = { ...cache, devices: [cache.devices[1]!] }
    await state.caches.save(changed)
    await state.disks.save({ ...disk, lease: null, vm: null })
    await state.tenures.save({ ...tenure, ending: 'open', endedAt: null, modifiedAt: null })
    const image = await state.load('h1')
    expect(image.caches).toEqual([changed])
    expect(image.disks).toEqual([{ ...disk, lease: null, vm: null }])
    expect(image.tenures).toEqual([{ ...tenure, ending: 'open', endedAt: null, modifiedAt: null }])
  })

  test('a VM is its UUID: it may be renamed, but two are never called alike on a host', async () => {
    await state.vms.save(vm)
    await state.vms.save({ ...vm, name: 'web02' })
    await expect(state.vms.save({ ...vm, uuid: 'u2', name: 'web02' })).rejects.toMatchObject({ code: 'FAILED' })
    const domain: StoredVm = { ...vm, uuid: 'u2', driver: 'libvirt', connect: 'qemu:///system', definition: null }
    await state.vms.save(domain)
    await state.vms.save({ ...vm, host: 'h2' })
    expect((await state.load('h1')).vms).toEqual([domain, { ...vm, name: 'web02' }])
    await state.vms.delete('h1', 'u1')
    expect((await state.load('h1')).vms).toEqual([domain])
    expect((await state.load('h2')).vms).toEqual([{ ...vm, host: 'h2' }])
  })

  test('a checkpoint is in a cache or in a directory, and something of it may be left in the other', async () => {
    const moving: CheckpointRecord = { ...checkpoint, leftover: { directory: '/srv/checkpoints/h1' } }
    const moved: CheckpointRecord = {
      ...checkpoint,
      place: { directory: '/srv/checkpoints/h1' },
      leftover: { cache: 'fast' },
    }
    for (const record of [moving, moved, { ...moved, leftover: null }, checkpoint]) {
      await state.checkpoints.save(record)
      expect((await state.load('h1')).checkpoints).toEqual([record])
    }
  })

  test('a policy is replaced whole, is one of its host and level, and goes when nothing is set any more', async () => {
    const [first] = policies as [PolicyRecord]
    await state.policies.save(first)
    await state.policies.save({ ...first, policy: { shares: 7 } })
    await state.policies.save({ ...first, level: 'cache' })
    await state.policies.save({ ...first, host: 'h2' })
    expect((await state.load('h1')).policies).toEqual([
      { ...first, level: 'cache' },
      { ...first, policy: { shares: 7 } },
    ])
    await state.policies.save({ ...first, policy: {} })
    await state.policies.delete('h1', 'cache', first.object)
    expect((await state.load('h1')).policies).toEqual([])
    expect((await state.load('h2')).policies).toEqual([{ ...first, host: 'h2' }])
  })

  test('what disks and VMs had before there were policies is set of themselves', async () => {
    const old = await newUrl()
    const diskColumns = 'host, name, cache, log_id, origin, socket, mode, replacement, min_bytes, max_bytes, shares'
    await databaseOf('0006-checkpoint-definition', old, [
      `insert into cache values ('h1', 'fast', 'c1', 4096, 16777216, '${AT}')`,
      `insert into disk (${diskColumns}, read_only, exclusive, block_bytes, created_at, destage_order, dirty_high_bytes)
       values ('h1', 'a', 'fast', 'l1', '/a', '/s', 'write-back', 'lru', 8796093022208, null, 7, 0, 1, 4096, '${AT}', 'relaxed', 4096)`,
      `insert into vm (host, uuid, name, driver, created_at, policy)
       values ('h1', 'u1', 'web01', 'qemu', '${AT}', '{"rapidSuspend":"on","suspendAt":null}'),
              ('h1', 'u2', 'web02', 'qemu', '${AT}', '{}')`,
    ])
    const migrated = await openState(old)
    const image = await migrated.load('h1')
    await migrated.close()
    expect(image.policies).toEqual([
      {
        ...{ host: 'h1', level: 'disk', object: 'a' },
        policy: {
          ...{ mode: 'write-back', replacement: 'lru', minBytes: 2 ** 43, maxBytes: null, shares: 7 },
          ...{ destageOrder: 'relaxed', destageBarrier: 'flush' },
          ...{ dirtyLowBytes: null, dirtyHighBytes: 4096, dirtyAgeSeconds: 10 },
        },
      },
      { host: 'h1', level: 'vm', object: 'u1', policy: { rapidSuspend: 'on', suspendAt: null } },
    ])
    expect(image.disks).toMatchObject([{ name: 'a', exclusive: true, blockBytes: 4096, vm: null }])
    expect(image.vms.map(({ name }) => name)).toEqual(['web01', 'web02'])
  })

  test('a VM has one checkpoint', async () => {
    await state.checkpoints.save(checkpoint)
    await expect(state.checkpoints.save({ ...checkpoint, id: 'k2' })).rejects.toMatchObject({ code: 'FAILED' })
    await state.checkpoints.save({ ...checkpoint, id: 'k3', host: 'h2' })
    await state.checkpoints.delete('k1')
    expect((await state.load('h1')).checkpoints).toEqual([])
    expect((await state.load('h2')).checkpoints).toEqual([{ ...checkpoint, id: 'k3', host: 'h2' }])
  })

  test('a cache of which disks are wanted cannot be deleted; without disks its devices go with it', async () => {
    await state.caches.save(cache)
    await state.disks.save(disk)
    await expect(state.caches.delete('h1', 'fast')).rejects.toMatchObject({ code: 'FAILED' })
    await state.disks.delete('h1', disk.name)
    await state.caches.delete('h1', 'fast')
    await state.caches.save({ ...cache, devices: [cache.devices[0]!] })
    expect((await state.load('h1')).caches[0]!.devices).toHaveLength(1)
  })

  test('two hosts may have caches and disks of the same name', async () => {
    const other = { ...cache, host: 'h2', cacheId: 'c2' }
    await state.caches.save(cache)
    await state.caches.save(other)
    await state.disks.save(disk)
    await state.disks.save({ ...disk, host: 'h2' })
    await state.disks.delete('h1', disk.name)
    expect((await state.load('h1')).disks).toEqual([])
    expect((await state.load('h2')).disks).toEqual([{ ...disk, host: 'h2' }])
    expect((await state.load('h2')).caches).toEqual([other])
  })

  test('a lease changes only from what it was seen to be', async () => {
    expect(await state.leases.find(lease.origin)).toBeNull()
    expect(await state.leases.compareAndSet(null, lease)).toBe(true)
    expect(await state.leases.compareAndSet(null, { ...lease, host: 'h2' })).toBe(false)

    const taken = { ...lease, host: 'h2', epoch: 2 }
    expect(await state.leases.compareAndSet({ host: 'h1', epoch: 7 }, taken)).toBe(false)
    expect(await state.leases.compareAndSet({ host: null, epoch: 1 }, taken)).toBe(false)
    expect(await state.leases.find(lease.origin)).toEqual(lease)

    const released = { ...lease, host: null, disk: null }
    expect(await state.leases.compareAndSet(lease, released)).toBe(true)
    expect(await state.leases.find(lease.origin)).toEqual(released)
    expect(await state.leases.list('h1')).toEqual([])
    expect(await state.leases.compareAndSet(released, taken)).toBe(true)
    expect(await state.leases.compareAndSet(released, { ...taken, epoch: 3 })).toBe(false)
  })

  test('of many that take a lease at once exactly one gets it', async () => {
    await state.leases.compareAndSet(null, { ...lease, host: null })
    const tries = Array.from({ length: 8 }, (_, index) =>
      state.leases.compareAndSet({ host: null, epoch: 1 }, { ...lease, host: `h${index}`, epoch: 2 }),
    )
    expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1)
  })

  test('a transaction that fails leaves nothing behind', async () => {
    await expect(
      state.transaction(async (stores) => {
        await stores.caches.save(cache)
        await stores.disks.save(disk)
        throw new Error('on purpose')
      }),
    ).rejects.toThrow('on purpose')
    expect((await state.load('h1')).caches).toEqual([])
    await state.transaction(async (stores) => {
      await stores.caches.save(cache)
      await stores.disks.save(disk)
    })
    expect((await state.load('h1')).disks).toEqual([disk])
  })

  test('jobs are found, listed newest first, replaced when they end, and forgotten in time', async () => {
    await state.jobs.save(job)
    await state.jobs.save({ ...job, id: 'j2', createdAt: LATER })
    const error = { code: 'ORIGIN_FAILED' as const, exit: 10, message: 'no', hint: null, details: { a: 1 } }
    const ended: JobRecord = { ...job, state: 'failed', endedAt: AT, error, progress: null, result: { changed: false } }
    await state.jobs.save(ended)
    expect(await state.jobs.find('j1')).toEqual(ended)
    expect(await state.jobs.find('j9')).toBeNull()
    expect((await state.jobs.list('h1')).map(({ id }) => id)).toEqual(['j2', 'j1'])
    expect((await state.jobs.list('h1', { limit: 1 })).map(({ id }) => id)).toEqual(['j2'])
    expect((await state.jobs.list('h1', { state: 'running' })).map(({ id }) => id)).toEqual(['j2'])
    await state.jobs.deleteEndedBefore('h1', LATER)
    expect((await state.jobs.list('h1')).map(({ id }) => id)).toEqual(['j2'])
  })

  test('events come back in order, filtered, and are forgotten in time', async () => {
    const event = {
      at: AT,
      what: 'cache.attach',
      why: null,
      who: 'root (uid 0)',
      result: 'ok',
      vm: null,
      disk: 'a',
      cache: 'fast',
    }
    await state.events.append('h1', event)
    await state.events.append('h1', { ...event, what: 'second', disk: 'b', vm: 'web01', why: 'because' })
    await state.events.append('h1', { ...event, what: 'third', at: LATER })
    await state.events.append('h2', event)
    const whats = async (query: { sinceAt?: string; vm?: string; disk?: string }) =>
      (await state.events.list('h1', { sinceAt: null, vm: null, disk: null, ...query })).map(({ what }) => what)
    expect(await whats({})).toEqual(['cache.attach', 'second', 'third'])
    expect(await whats({ sinceAt: LATER })).toEqual(['third'])
    expect(await whats({ vm: 'web01' })).toEqual(['second'])
    expect(await whats({ disk: 'a' })).toEqual(['cache.attach', 'third'])
    expect((await state.events.list('h2', { sinceAt: null, vm: null, disk: null }))[0]).toEqual(event)
    await state.events.deleteBefore('h1', LATER)
    expect(await whats({})).toEqual(['third'])
  })

  test('opening twice changes nothing', async () => {
    await state.caches.save(cache)
    await reopen()
    await reopen()
    expect((await state.load('h1')).caches).toEqual([cache])
  })
}

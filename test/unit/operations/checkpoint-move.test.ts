/** The memory of a suspended VM moves between cache and storage; whatever dies in between, one of both counts, and it is whole. */
import { beforeEach, describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import type { CheckpointDestination } from '../../../src/model/checkpoint.js'
import type { RequestOf } from '../../../src/protocol/control/routes.js'
import type { FakeVm } from '../../support/fake-vm-driver.js'
import { context, createRequest, GIB, MIB, targets, testHost, type TestHost } from './test-host.js'

let host: TestHost
let web: FakeVm

beforeEach(async () => {
  host = await testHost()
  host.checkpointDirectory = '/storage/checkpoints'
  await host.start(await host.kill())
  host.storage.devices.set('/cache/a', { sizeBytes: 4 * GIB, content: 'empty', gone: false })
  await host.operations['cache.create'](createRequest(), context)
  web = await running('web01')
})

async function running(name: string): Promise<FakeVm> {
  await host.operations['vm.define'](
    {
      ...{ name, memoryBytes: 2 ** 28, cpus: 1, accelerator: 'tcg', kernel: null, initrd: null, append: null },
      ...{ disks: [{ path: host.image(`${name}.img`), format: 'raw' }], qemuArguments: [], dryRun: false },
    },
    context,
  )
  await host.operations['vm.start'](targets([name]), context)
  return [...host.drivers.qemu.vms.values()].find((vm) => vm.name === name)!
}

const suspend = (to?: CheckpointDestination, names = ['web01'], changes: Partial<RequestOf<'vm.suspend'>> = {}) =>
  host.operations['vm.suspend'](
    {
      ...targets(names),
      ...{ idleSeconds: null, perHour: null, atOnce: null },
      ...(to === undefined ? {} : { to }),
      ...changes,
    },
    context,
  )
const resume = () => host.operations['vm.resume']({ ...targets(['web01']), perHour: null, atOnce: null }, context)
const move = (to: CheckpointDestination, names = ['web01'], changes: Partial<RequestOf<'checkpoint.move'>> = {}) =>
  host.operations['checkpoint.move']({ ...targets(names), to, ...changes }, context)
const forget = (name = 'web01') =>
  host.operations['checkpoint.delete']({ ...targets([name]), discardMemory: true }, context)
const show = () => host.operations['checkpoint.show']({ name: 'web01' }, context)
const checkpoints = async () => (await host.operations['checkpoint.list']({}, context)).checkpoints
const copies = () => [...host.storage.checkpoints.keys(), ...host.storage.checkpointFiles.keys()]
const [inCache, inFiles] = [() => host.storage.checkpoints.size, () => host.storage.checkpointFiles.size]
const cacheChunks = async () => (await host.operations['cache.show']({ name: 'fast' }, context)).chunks
const recorded = async () => {
  const [own] = await host.state.hosts.list()
  return host.state.checkpoints.list(own!.id)
}
const directory = async () => `/storage/checkpoints/${(await host.state.hosts.list())[0]!.id}`

describe('checkpoint move', () => {
  beforeEach(() => suspend())

  test('to storage, and back: it is where it is said to be, and nowhere else', async () => {
    const { id } = await show()
    const path = `${await directory()}/${id}.checkpoint`
    expect(await move('storage')).toMatchObject({ changed: true, results: [{ name: 'web01', ok: true }] })
    expect(copies()).toEqual([path])
    expect(await show()).toMatchObject({ id, cache: null, location: 'storage', path, state: 'suspended', damage: null })
    expect(await cacheChunks()).toMatchObject({ checkpoint: 0 })
    const vm = await host.operations['vm.show']({ name: 'web01' }, context)
    expect(vm).toMatchObject({ state: 'suspended', checkpoint: { location: 'storage', cache: null, path } })
    expect(await move('storage')).toMatchObject({ changed: false, results: [{ ok: true }] })
    expect(await recorded()).toMatchObject([{ place: { directory: await directory() }, leftover: null }])

    expect(await move('local', [id])).toMatchObject({ changed: true })
    expect(copies()).toEqual([id])
    expect(await show()).toMatchObject({ cache: 'fast', location: 'cache', path: null, storedBytes: 64 * MIB })
    expect(await cacheChunks()).toMatchObject({ checkpoint: 4 })
    const { events } = await host.operations['event.list']({ sinceAt: null, vm: 'web01', disk: null }, context)
    expect(events.filter(({ what }) => what === 'checkpoint.move')).toHaveLength(2)
  })

  test('each step is on record before the next', async () => {
    const seen: unknown[] = []
    const { copyCheckpoint, deleteCheckpoint } = host.engine
    const note = async (what: string): Promise<void> => {
      const { place, leftover } = (await recorded())[0]!
      seen.push([what, place, leftover])
    }
    host.engine.copyCheckpoint = async (...args) => {
      await note('copy')
      return copyCheckpoint(...args)
    }
    host.engine.deleteCheckpoint = async (...args) => {
      await note('erase')
      return deleteCheckpoint(...args)
    }
    const [cache, storage] = [{ cache: 'fast' }, { directory: await directory() }]
    await move('storage')
    await move('local')
    expect(seen).toEqual([
      ['copy', cache, storage],
      ['erase', storage, cache],
      ['copy', storage, cache],
      ['erase', cache, storage],
    ])
  })

  test('a dry run names the steps and does nothing', async () => {
    const { id } = await show()
    expect(await move('storage', ['web01'], { dryRun: true })).toMatchObject({
      changed: true,
      steps: [
        `copy the memory of VM web01 (64 MB) to file ${await directory()}/${id}.checkpoint, and verify it there`,
        'erase it in cache fast',
      ],
    })
    expect(copies()).toEqual([id])
  })

  test('is refused without checkpoint-dir, of a VM that is not suspended, and of what nobody knows', async () => {
    await running('web02')
    expect(await move('storage', ['web02'])).toMatchObject({ results: [{ error: { code: 'NOT_FOUND', exit: 3 } }] })
    const { id } = await show()
    await host.state.checkpoints.delete(id)
    host.checkpointDirectory = null
    await host.start(await host.kill())
    await expect(move('storage')).rejects.toMatchObject({
      code: 'BAD_CONFIG',
      hint: expect.stringContaining('checkpoint-dir'),
    })
    await expect(suspend('storage', [], { all: true })).rejects.toMatchObject({ code: 'BAD_CONFIG' })
    expect(await move('local', [id])).toMatchObject({ results: [{ error: { code: 'WRONG_STATE', exit: 4 } }] })
    expect(await move('local', [], { all: true })).toMatchObject({ changed: false, results: [] })
  })

  test('back is refused where the cache has no room: NO_SPACE, and nothing has changed', async () => {
    await move('storage')
    const before = copies()
    host.storage.checkpointFiles.set(before[0]!, { ...host.storage.checkpointFiles.get(before[0]!)!, bytes: 8 * GIB })
    expect(await move('local')).toMatchObject({ results: [{ error: { code: 'NO_SPACE', exit: 5 } }] })
    expect(copies()).toEqual(before)
    expect(await recorded()).toMatchObject([{ place: { directory: await directory() }, leftover: null }])
  })

  test.each(['local', 'storage'] as const)(
    'away from %s, of one with a flipped bit: CORRUPT, and it stays',
    async (from) => {
      if (from === 'storage') await move('storage')
      const [before] = copies()
      const kept = from === 'local' ? host.storage.checkpoints : host.storage.checkpointFiles
      kept.get(before!)!.isCorrupt = true
      expect(await move(from === 'local' ? 'storage' : 'local')).toMatchObject({
        results: [{ error: { code: 'CORRUPT' } }],
      })
      expect(copies()).toEqual([before])
      expect(await recorded()).toMatchObject([{ state: 'suspended', leftover: null }])
    },
  )

  test('a cache with something of a moved checkpoint is not deleted', async () => {
    host.engine.failNext('deleteCheckpoint')
    await move('storage')
    expect([inCache(), inFiles()]).toEqual([1, 1])
    const remove = () => host.operations['cache.delete']({ name: 'fast', discardDirty: false, dryRun: false }, context)
    await expect(remove()).rejects.toMatchObject({ code: 'IN_USE' })
    await host.handle.reconcileVms(null)
    expect([inCache(), inFiles()]).toEqual([0, 1])
    expect(await remove()).toMatchObject({ changed: true })
    expect(await checkpoints()).toMatchObject([{ location: 'storage', damage: null }])
  })

  /** Calls of the state database by a move: begin, count, then settle and forget. */
  test.each([1, 2, 3, 4])(
    'where the state database fails at its call %i, one counts, and it is whole',
    async (call) => {
      host.state.fail(call)
      const { results } = await move('storage')
      // Only what is on record has been done.
      expect(results).toMatchObject(call <= 2 ? [{ ok: false, changed: false }] : [{ ok: true, changed: true }])
      host.state.mend()
      for (let look = 0; look < 2; look++) await host.handle.reconcileVms(null)
      const { place, leftover } = (await recorded())[0]!
      expect(leftover).toBeNull()
      expect([inCache(), inFiles()]).toEqual('cache' in place ? [1, 0] : [0, 1])
      expect(await resume()).toMatchObject({ changed: true })
      expect(copies()).toEqual([])
    },
  )
})

test('a state database that took a change although it says that it failed, and is away then: nothing is erased', async () => {
  await suspend()
  const save = host.state.checkpoints.save.bind(host.state.checkpoints)
  let calls = 0
  host.state.checkpoints.save = async (checkpoint) => {
    if (++calls <= 2) await save(checkpoint)
    if (calls >= 2) throw new VmcacheError('FAILED', 'the connection is gone')
  }
  expect(await move('storage')).toMatchObject({ results: [{ ok: false, error: { code: 'FAILED' } }] })
  await host.handle.reconcileVms(null)
  expect([inCache(), inFiles()]).toEqual([1, 1])
  host.state.checkpoints.save = save
  await host.start(await host.kill())
  expect(await checkpoints()).toMatchObject([{ location: 'storage', damage: null }])
  await host.handle.reconcileVms(null)
  expect([inCache(), inFiles()]).toEqual([0, 1])
  expect(await resume()).toMatchObject({ changed: true })
})

describe('S3: an engine dies while it moves one', () => {
  /** What the engine does next it never does. */
  const STEPS = [
    ['before the copy', 'copyCheckpoint', 'before'],
    ['behind the copy', 'copyCheckpoint', 'behind'],
    ['before what does not count is erased', 'deleteCheckpoint', 'before'],
    ['behind that', 'deleteCheckpoint', 'behind'],
  ] as const

  describe.each(['storage', 'local'] as const)('to %s', (to) => {
    test.each(STEPS)('%s: one counts, it is whole, and the other is erased', async (_, method, when) => {
      await suspend()
      if (to === 'local') await move('storage')
      const whole = host.engine[method] as (...args: unknown[]) => Promise<unknown>
      await new Promise<void>((resolve) => {
        ;(host.engine as unknown as Record<string, unknown>)[method] = async (...args: unknown[]) => {
          if (when === 'behind') await whole(...args)
          resolve()
          return new Promise(() => {})
        }
        void move(to)
      })
      const counts =
        method === 'copyCheckpoint'
          ? to === 'storage'
            ? 'cache'
            : 'directory'
          : to === 'storage'
            ? 'directory'
            : 'cache'
      const [before] = await recorded()
      expect(before!.state).toBe('suspended')
      expect(counts in before!.place).toBe(true)
      expect(before!.leftover).not.toBeNull()

      await host.start(await host.kill())
      expect((await checkpoints()).map(({ state, damage }) => [state, damage])).toEqual([['suspended', null]])
      await host.handle.reconcileVms(null)
      expect([inCache(), inFiles()]).toEqual(counts === 'cache' ? [1, 0] : [0, 1])
      expect(await recorded()).toMatchObject([{ state: 'suspended', leftover: null }])
      expect(await resume()).toMatchObject({ changed: true })
      expect(web.state).toBe('running')
      expect(copies()).toEqual([])
    })
  })

  test('and it is resumed, or given up, before that is settled: nothing is left', async () => {
    for (const end of [resume, () => forget()]) {
      if (web.state === 'running') await suspend()
      host.engine.failNext('deleteCheckpoint')
      await move('storage')
      expect(copies()).toHaveLength(2)
      expect(await end()).toMatchObject({ changed: true })
      expect(copies()).toEqual([])
      expect(await recorded()).toEqual([])
    }
  })
})

describe('on storage', () => {
  test('vm suspend --to storage: nothing of the cache is taken, and it is resumed from there', async () => {
    expect(await suspend('storage', ['web01'], { dryRun: true })).toMatchObject({
      steps: ['stop VM web01', `write its memory to directory ${await directory()}`, 'end VM web01'],
    })
    expect(await suspend('storage')).toMatchObject({ changed: true })
    expect(web.state).toBe('off')
    expect([inCache(), inFiles()]).toEqual([0, 1])
    expect(await suspend()).toMatchObject({ changed: false })
    expect(await suspend('storage')).toMatchObject({ changed: false })
    expect(await suspend('local')).toMatchObject({ results: [{ error: { code: 'WRONG_STATE', exit: 4 } }] })
    await host.start(await host.kill())
    expect(await resume()).toMatchObject({ changed: true })
    expect(web.state).toBe('running')
    expect(copies()).toEqual([])
  })

  test('where its directory cannot be made, the VM was never stopped', async () => {
    host.engine.failNext('makeCheckpointDirectory', new VmcacheError('NOT_FOUND', '/storage/checkpoints is not there'))
    const before = host.drivers.qemu.log.length
    expect(await suspend('storage')).toMatchObject({ results: [{ error: { code: 'NOT_FOUND' } }] })
    expect(host.drivers.qemu.log.slice(before)).not.toContain('stop')
    expect(web.state).toBe('running')
    expect(await recorded()).toEqual([])
  })

  test('where it cannot be written, the VM goes on', async () => {
    host.engine.failNext('writeCheckpoint', new VmcacheError('NO_SPACE', 'no room'))
    expect(await suspend('storage')).toMatchObject({ results: [{ error: { code: 'NO_SPACE', exit: 5 } }] })
    expect(web.state).toBe('running')
    expect(await recorded()).toEqual([])
  })

  test('S7: a flipped bit is found before the VM is touched', async () => {
    await suspend('storage')
    ;[...host.storage.checkpointFiles.values()][0]!.isCorrupt = true
    expect(await resume()).toMatchObject({ results: [{ error: { code: 'CORRUPT' } }] })
    expect(host.drivers.qemu.log).not.toContain('start, awaiting memory')
    expect(inFiles()).toBe(1)
  })

  test('its file is away: said with its path, by resume, list and status', async () => {
    await suspend('storage')
    const { path } = await show()
    host.storage.checkpointFiles.clear()
    const message = expect.stringContaining(path!)
    expect(await resume()).toMatchObject({ results: [{ error: { code: 'NOT_FOUND', message } }] })
    expect(await show()).toMatchObject({ damage: message })
    expect((await host.operations['status.show']({}, context)).attention).toContainEqual(
      expect.objectContaining({ object: 'VM web01', reason: message }),
    )
    host.storage.directories.clear()
    expect(await show()).toMatchObject({ damage: `directory ${await directory()} is not there` })
    expect(await forget()).toMatchObject({ results: [{ ok: false }] })
    host.storage.directories.add(await directory())
    expect(await forget()).toMatchObject({ changed: true })
    expect(await checkpoints()).toEqual([])
  })

  test('a file that is not on record is shown, and is only deleted', async () => {
    await suspend('storage')
    const { id, path } = await show()
    await host.state.checkpoints.delete(id)
    await host.start(await host.kill())
    expect(await checkpoints()).toMatchObject([{ id, vm: 'web01', state: 'unrecorded', location: 'storage', path }])
    expect(await forget(id)).toMatchObject({ changed: true })
    expect(copies()).toEqual([])
  })
})

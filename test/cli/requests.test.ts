/** What each command asks the engine for, and what it prints of the answer. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Answers } from '../support/fake-control.js'
import * as sample from '../support/sample-documents.js'
import { commandLineTest, type CommandLineTest } from '../support/vmcache.js'

const GIB = 1024 ** 3
const results = { changed: true, results: [{ name: 'web01/vda', ok: true, changed: true, error: null }] }

const answers: Answers = {
  'status.show': sample.status,
  'engine.status': sample.engine,
  'cache.list': { caches: [sample.fast, sample.spare] },
  'cache.show': sample.fast,
  'disk.list': { disks: [sample.db, sample.web] },
  'disk.show': sample.db,
  'device.list': { devices: sample.fast.devices.map((device) => ({ ...device, cache: 'fast' })) },
  'stats.show': sample.stats,
  'job.list': { jobs: [sample.job, sample.failedJob] },
  'job.show': sample.job,
  'event.list': { events: sample.events },
  'config.show': { values: [{ key: 'host-name', value: 'kvm07', source: 'default' }] },
  'doctor.run': { checks: sample.checks.slice(0, 1) },
  'cache.create': { changed: true, cache: sample.spare },
  'cache.delete': { changed: true, name: 'fast' },
  'cache.import': { changed: true, cache: sample.fast, coldDisks: [] },
  'cache.attach': { changed: true, disk: sample.web },
  'cache.detach': results,
  'vm.list': { vms: sample.vms },
  'vm.show': sample.vms[0],
  'vm.define': { changed: true, vm: sample.vms[1] },
  'vm.adopt': results,
  'vm.release': results,
  'vm.start': results,
  'vm.stop': results,
  'vm.delete': results,
  'vm.suspend': results,
  'vm.set': { changed: true, vm: sample.vms[1] },
  'vm.resume': results,
  'checkpoint.list': { checkpoints: sample.checkpoints },
  'checkpoint.show': sample.checkpoints[0],
  'checkpoint.move': results,
  'checkpoint.delete': results,
  'vm.attach': { ...results, disks: [sample.web] },
  'cache.scrub': { changed: true, ...sample.scrubbed, disks: [] },
  'device.add': { changed: true, cache: sample.fast },
  'device.remove': { changed: true, cache: sample.fast },
  'device.replace': { changed: true, cache: sample.fast },
  'disk.flush': results,
  'disk.invalidate': results,
  'disk.set': { changed: true, disk: sample.db },
  'cache.set': { changed: true, cache: sample.fast },
  'host.set': { changed: true, host: 'kvm07' },
  'policy.list': { policies: sample.policies },
  'policy.show': sample.policyOfDisk,
  'disk.resolve': { changed: true, disk: sample.web, writtenBytes: 0, lostPages: [], damages: 0 },
  'job.cancel': { changed: true, job: { ...sample.job, state: 'cancelled' } },
}

let cli: CommandLineTest
beforeAll(async () => void (cli = await commandLineTest(answers)))
afterAll(() => cli.stop())
beforeEach(() => void (cli.fake.requests.length = 0))

/** What was asked, without whether an engine runs, which every change asks first. */
const asked = () => cli.fake.requests.filter(({ operation }) => operation !== 'engine.status')

const reads: [string, string, object, unknown][] = [
  ['status', 'status.show', {}, sample.status],
  ['cache list', 'cache.list', {}, { caches: [sample.fast, sample.spare] }],
  ['cache show fast', 'cache.show', { name: 'fast' }, sample.fast],
  ['disk list', 'disk.list', {}, { disks: [sample.db, sample.web] }],
  ['disk show db01/vda', 'disk.show', { name: 'db01/vda' }, sample.db],
  ['device list', 'device.list', {}, { devices: sample.fast.devices.map((device) => ({ ...device, cache: 'fast' })) }],
  ['stats', 'stats.show', { window: '5m' }, sample.stats],
  ['stats a b --window 24h', 'stats.show', { names: ['a', 'b'], window: '24h' }, sample.stats],
  ['job list', 'job.list', {}, { jobs: [sample.job, sample.failedJob] }],
  ['job show 0d9f6c1e', 'job.show', { id: '0d9f6c1e', waitMilliseconds: '0' }, sample.job],
  ['event list --disk d --vm v', 'event.list', { disk: 'd', vm: 'v' }, { events: sample.events }],
  ['vm list', 'vm.list', {}, { vms: sample.vms }],
  ['vm show web01', 'vm.show', { name: 'web01' }, sample.vms[0]],
  ['checkpoint list', 'checkpoint.list', {}, { checkpoints: sample.checkpoints }],
  ['checkpoint show desk07', 'checkpoint.show', { name: 'desk07' }, sample.checkpoints[0]],
  ['config show', 'config.show', {}, { values: [{ key: 'host-name', value: 'kvm07', source: 'default' }] }],
  ['doctor', 'doctor.run', {}, { checks: sample.checks.slice(0, 1) }],
  ['policy list', 'policy.list', {}, { policies: sample.policies }],
  ['policy show --cache fast', 'policy.show', { level: 'cache', name: 'fast' }, sample.policyOfDisk],
]

test.each(reads)('vmcache %s reads %s', async (line, operation, request, document) => {
  expect(await cli.json(...line.split(' '))).toEqual({ code: 0, document, stderr: '' })
  expect(asked()).toHaveLength(1)
  expect(asked()[0]).toMatchObject({ operation, request })
})

test('policy show has what the documents of disks and VMs say of it too', async () => {
  const { document } = await cli.json('policy', 'show', '--disk', 'db01/vda')
  const { disk, mode, replacement, minBytes, maxBytes, shares, writeBack } = sample.db
  expect(document).toEqual({
    ...sample.policyOfDisk,
    ...{ disk, mode, replacement, minBytes, maxBytes, shares, writeBack },
  })
  expect(asked()[0]).toMatchObject({ operation: 'policy.show', request: { level: 'disk', name: 'db01/vda' } })
  cli.fake.answers['policy.show'] = sample.policyOfVm
  const ofVm = (await cli.json('policy', 'show', '--vm', 'desk07')).document
  expect(ofVm).toEqual({ ...sample.policyOfVm, policy: sample.vms[0]!.policy, reservation: null })
  cli.fake.answers['policy.show'] = sample.policyOfDisk
})

test('a host is what a policy is of where the command line names it, and not where the environment does', async () => {
  const named = await cli.json('policy', 'set', '--host', 'kvm07', '--shares', '5')
  expect(named.code).toBe(0)
  expect(asked().at(-1)).toMatchObject({ operation: 'host.set', request: { name: 'kvm07', shares: 5 } })
  const environment: Record<string, string> = cli.environment
  environment['VMCACHE_HOST'] = 'kvm07'
  try {
    expect(await cli.json('policy', 'set', '--shares', '5')).toMatchObject({ code: 2 })
    expect(await cli.json('policy', 'set', '--disk', 'd', '--shares', '5')).toMatchObject({ code: 0 })
  } finally {
    delete environment['VMCACHE_HOST']
  }
})

const attach = {
  cache: 'fast',
  name: null,
  readOnly: false,
  exclusive: false,
  dryRun: false,
}
const targets = { names: [], all: false, exclude: [], dryRun: false }
const anyPace = { perHour: null, atOnce: null }

const { name: _name, readOnly: _readOnly, ...attachVm } = attach
const defined = {
  ...{ name: 'own', memoryBytes: 4 * GIB, cpus: 1, accelerator: 'kvm', dryRun: false },
  ...{ kernel: null, initrd: null, append: null, qemuArguments: [] },
}

const changes: [string, string, object][] = [
  ['cache attach fast --vm web01', 'vm.attach', { ...attachVm, vm: 'web01', targets: [] }],
  [
    'cache attach fast --vm web01 --target vda --target vdb --mode write-back --dry-run',
    'vm.attach',
    { ...attachVm, vm: 'web01', targets: ['vda', 'vdb'], mode: 'write-back', dryRun: true },
  ],
  [
    'vm define own --memory 4g --disk a.img --disk /dev/b,format=qcow2',
    'vm.define',
    {
      ...defined,
      disks: [
        { path: 'DIRECTORY/a.img', format: 'raw' },
        { path: '/dev/b', format: 'qcow2' },
      ],
    },
  ],
  [
    'vm define own --memory 4g --disk /a --accel tcg --cpus 3 --kernel k --initrd /i --append quiet -- -nic none --disk',
    'vm.define',
    {
      ...defined,
      ...{ disks: [{ path: '/a', format: 'raw' }], accelerator: 'tcg', cpus: 3 },
      ...{ kernel: 'DIRECTORY/k', initrd: '/i', append: 'quiet', qemuArguments: ['-nic', 'none', '--disk'] },
    },
  ],
  ['vm adopt a b', 'vm.adopt', { domains: ['a', 'b'], connect: null, dryRun: false }],
  ['vm adopt a --connect qemu:///session', 'vm.adopt', { domains: ['a'], connect: 'qemu:///session', dryRun: false }],
  ['vm release a', 'vm.release', { ...targets, names: ['a'] }],
  ['vm start --all --exclude b', 'vm.start', { ...targets, all: true, exclude: ['b'] }],
  ['policy set --vm a --idle-timeout 1h', 'vm.set', { name: 'a', idleTimeoutSeconds: 3600, dryRun: false }],
  [
    'policy set --vm a --idle-timeout off --rapid-suspend best-effort',
    'vm.set',
    { name: 'a', idleTimeoutSeconds: null, rapidSuspend: 'best-effort', dryRun: false },
  ],
  [
    'policy set --vm a --suspend-at 0~22~*~*~* --resume-at off --time-zone Europe/Berlin',
    'vm.set',
    { name: 'a', suspendAt: '0~22~*~*~*', resumeAt: null, timeZone: 'Europe/Berlin', dryRun: false },
  ],
  [
    'policy set --vm a --mode write-back --min 1g --max 100% --dirty-age 1m --dry-run',
    'vm.set',
    { name: 'a', mode: 'write-back', minBytes: GIB, maxBytes: null, writeBack: { dirtyAgeSeconds: 60 }, dryRun: true },
  ],
  ['policy set --cache fast --mode write-around', 'cache.set', { name: 'fast', mode: 'write-around', dryRun: false }],
  [
    'policy set --host kvm07 --idle-timeout 1h --replacement lru',
    'host.set',
    { name: 'kvm07', idleTimeoutSeconds: 3600, replacement: 'lru', dryRun: false },
  ],
  [
    'policy unset --disk d mode dirty-high',
    'disk.set',
    { name: 'd', unset: ['mode', 'dirtyHighBytes'], dryRun: false },
  ],
  ['policy unset --host kvm07 time-zone', 'host.set', { name: 'kvm07', unset: ['timeZone'], dryRun: false }],
  ['vm suspend a', 'vm.suspend', { ...targets, names: ['a'], idleSeconds: null, ...anyPace }],
  [
    'vm suspend --all --idle 1h --rate 20/h --at-once 1 --dry-run',
    'vm.suspend',
    { ...targets, all: true, idleSeconds: 3600, perHour: 20, atOnce: 1, dryRun: true },
  ],
  ['vm resume --all --at-once 2', 'vm.resume', { ...targets, all: true, perHour: null, atOnce: 2 }],
  [
    'vm suspend a --to storage',
    'vm.suspend',
    { ...targets, names: ['a'], idleSeconds: null, to: 'storage', ...anyPace },
  ],
  ['checkpoint move a --to storage', 'checkpoint.move', { ...targets, names: ['a'], to: 'storage' }],
  [
    'checkpoint move --all --exclude b --to local',
    'checkpoint.move',
    { ...targets, all: true, exclude: ['b'], to: 'local' },
  ],
  ['checkpoint delete a', 'checkpoint.delete', { ...targets, names: ['a'], discardMemory: false }],
  ['checkpoint delete a --discard-memory', 'checkpoint.delete', { ...targets, names: ['a'], discardMemory: true }],
  ['vm stop a* --force', 'vm.stop', { ...targets, names: ['a*'], force: true }],
  ['vm delete a --dry-run', 'vm.delete', { ...targets, names: ['a'], dryRun: true }],
  [
    'cache create spare --device /dev/a --device b,size=10g --block-size 16k --chunk-size 1m --force',
    'cache.create',
    {
      name: 'spare',
      devices: [
        { path: '/dev/a', sizeBytes: null },
        { path: 'DIRECTORY/b', sizeBytes: 10 * GIB },
      ],
      blockSizeBytes: 16_384,
      chunkSizeBytes: 1024 ** 2,
      force: true,
      dryRun: false,
    },
  ],
  ['cache delete fast --yes', 'cache.delete', { name: 'fast', discardDirty: false, dryRun: false }],
  [
    'cache import --device /dev/a --device b --allow-missing',
    'cache.import',
    { devices: ['/dev/a', 'DIRECTORY/b'], missing: true, dryRun: false },
  ],
  ['cache attach fast web01.raw', 'cache.attach', { ...attach, origin: 'DIRECTORY/web01.raw' }],
  [
    'cache attach fast nbd://store/web01 --name web01/vda --mode write-around --replacement ./own.js --min 1g --max 2g --shares 7 --read-only --exclusive',
    'cache.attach',
    {
      ...attach,
      origin: 'nbd://store/web01',
      name: 'web01/vda',
      mode: 'write-around',
      replacement: 'DIRECTORY/own.js',
      minBytes: GIB,
      maxBytes: 2 * GIB,
      shares: 7,
      readOnly: true,
      exclusive: true,
    },
  ],
  ['cache detach a b* --force', 'cache.detach', { ...targets, names: ['a', 'b*'], force: true, discardDirty: false }],
  ['cache scrub fast', 'cache.scrub', { name: 'fast', bytesPerSecond: null, dryRun: false }],
  ['cache scrub fast --rate 1m', 'cache.scrub', { name: 'fast', bytesPerSecond: 1_048_576, dryRun: false }],
  [
    'device add fast more,size=1g --force',
    'device.add',
    { cache: 'fast', device: { path: 'DIRECTORY/more', sizeBytes: GIB }, force: true, dryRun: false },
  ],
  ['device remove fast /dev/a --dry-run', 'device.remove', { cache: 'fast', device: '/dev/a', dryRun: true }],
  [
    'device remove fast 6f1c0a9e2b7d4c3f8a5e1d2c3b4a5968',
    'device.remove',
    { cache: 'fast', device: '6f1c0a9e2b7d4c3f8a5e1d2c3b4a5968', dryRun: false },
  ],
  [
    'device replace fast a /dev/b',
    'device.replace',
    { cache: 'fast', device: 'DIRECTORY/a', by: { path: '/dev/b', sizeBytes: null }, force: false, dryRun: false },
  ],
  ['disk flush --all --exclude a --exclude b', 'disk.flush', { ...targets, all: true, exclude: ['a', 'b'] }],
  ['disk flush a --hold 10m', 'disk.flush', { ...targets, names: ['a'], holdSeconds: 600 }],
  ['disk flush a --dry-run', 'disk.flush', { ...targets, names: ['a'], dryRun: true }],
  ['disk invalidate a', 'disk.invalidate', { ...targets, names: ['a'] }],
  [
    'policy set --disk db01/vda --mode pass-through --shares 5',
    'disk.set',
    { name: 'db01/vda', mode: 'pass-through', shares: 5, dryRun: false },
  ],
  ['policy set --disk d --max 100%', 'disk.set', { name: 'd', maxBytes: null, dryRun: false }],
  [
    'policy set --disk d --destage ordered --dirty-low 1g --dirty-high default --dirty-age 1m',
    'disk.set',
    {
      name: 'd',
      writeBack: { order: 'ordered', dirtyLowBytes: GIB, dirtyHighBytes: null, dirtyAgeSeconds: 60 },
      dryRun: false,
    },
  ],
  [
    'cache attach fast web01.raw --mode write-back --dirty-high 4g',
    'cache.attach',
    {
      ...attach,
      origin: 'DIRECTORY/web01.raw',
      mode: 'write-back',
      writeBack: { dirtyHighBytes: 4 * GIB },
    },
  ],
  ['disk resolve d --keep cache', 'disk.resolve', { name: 'd', keep: 'cache', discardDirty: false, dryRun: false }],
  ['disk resolve d --keep origin', 'disk.resolve', { name: 'd', keep: 'origin', discardDirty: false, dryRun: false }],
  ['job cancel 0d9f6c1e', 'job.cancel', { id: '0d9f6c1e' }],
]

test.each(changes)('vmcache %s', async (line, operation, request) => {
  const { code, document, stderr } = await cli.json(...line.split(' '))
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(document).toHaveProperty('changed', true)
  expect(asked()).toHaveLength(1)
  const expected = JSON.parse(JSON.stringify(request).replaceAll('DIRECTORY', cli.directory)) as object
  expect(asked()[0]).toMatchObject({ operation })
  expect(asked()[0]!.request).toEqual(expected)
})

test('a percentage is one of the cache, whose size is asked for', async () => {
  await cli.json('cache', 'attach', 'fast', '/x', '--min', '10%', '--max', '50%')
  expect(asked().at(-1)!.request).toMatchObject({ minBytes: 160 * GIB, maxBytes: 800 * GIB })
  await cli.json('policy', 'set', '--disk', 'db01/vda', '--min', '10%')
  expect(asked().at(-1)!.request).toEqual({ name: 'db01/vda', minBytes: 160 * GIB, dryRun: false })
  await cli.json('policy', 'set', '--cache', 'fast', '--max', '50%')
  expect(asked().at(-1)!.request).toEqual({ name: 'fast', maxBytes: 800 * GIB, dryRun: false })
})

test('--discard-dirty says first how much is lost, and how old it is', async () => {
  cli.fake.answers['cache.detach'] = {
    changed: true,
    results: [{ name: 'db01/vda', ok: true, changed: true, error: null }],
  }
  const { stderr } = await cli.json('cache', 'detach', 'db01/vda', '--discard-dirty')
  expect(stderr).toBe('discarding 1.2 GB that the origin lacks, the oldest written 38 s ago\n')
  expect(asked().map(({ operation, request }) => [operation, request['dryRun']])).toEqual([
    ['cache.detach', true],
    ['disk.list', undefined],
    ['cache.detach', false],
  ])
  cli.fake.answers['cache.detach'] = results
})

test('a scrub that finds what only the cache had ends with 1, and its result is printed all the same', async () => {
  cli.fake.answers['cache.scrub'] = { changed: true, ...sample.scrubbed }
  const { code, document } = await cli.json('cache', 'scrub', 'fast')
  expect(code).toBe(1)
  expect(document).toMatchObject({ ...sample.scrubbed, error: { code: 'CORRUPT', exit: 1, details: { pages: 2 } } })
  expect((await cli.run('cache', 'scrub', 'fast')).stdout).toMatch(/^db01\/vda: 262144 pages read, 2 bad/)
})

test('a dry run prints its steps', async () => {
  cli.fake.answers['disk.flush'] = { ...results, dryRun: true, steps: ['flush db01/vda: 1.2 GB'] }
  expect(await cli.run('disk', 'flush', 'a', '--dry-run')).toEqual({
    code: 0,
    stdout: 'flush db01/vda: 1.2 GB\n',
    stderr: '',
  })
  cli.fake.answers['disk.flush'] = results
})

test('attach prints the URI alone', async () => {
  expect(await cli.run('cache', 'attach', 'fast', '/images/web01.raw')).toEqual({
    code: 0,
    stdout: `${sample.web.uri}\n`,
    stderr: '',
  })
})

test('--no-wait prints the job', async () => {
  cli.fake.answers['disk.flush'] = { polls: Infinity, ends: results }
  const { code, document } = await cli.json('disk', 'flush', 'a', '--no-wait')
  expect(code).toBe(0)
  expect(document).toMatchObject({ kind: 'disk.flush', state: 'running' })
  expect(asked()[0]).toMatchObject({ operation: 'disk.flush', waitMilliseconds: 0 })
  expect((await cli.run('disk', 'flush', 'a', '--no-wait')).stdout).toMatch(/^job-\d+\n$/)
  cli.fake.answers['disk.flush'] = results
})

test('a job that takes a while is waited for', async () => {
  cli.fake.answers['disk.flush'] = { polls: 3, ends: results }
  expect(await cli.json('disk', 'flush', 'a')).toEqual({ code: 0, document: results, stderr: '' })
  expect(asked().filter(({ operation }) => operation === 'job.show')).toHaveLength(4)
  cli.fake.answers['disk.flush'] = results
})

test('--host takes the name or the id of this host, and no other', async () => {
  expect((await cli.run('cache', 'list', '--host', 'kvm07')).code).toBe(0)
  expect((await cli.run('cache', 'list', '--host', sample.engine.hostId)).code).toBe(0)
  expect(await cli.json('cache', 'list', '--host', 'kvm08')).toMatchObject({
    code: 3,
    document: { error: { code: 'HOST_NOT_FOUND', message: 'host kvm08 is not known: this host is kvm07' } },
  })
})

test('metrics come as they are', async () => {
  cli.fake.metrics = '# TYPE vmcache_reads counter\nvmcache_reads 1\n'
  expect(await cli.run('stats', 'export', '--prometheus')).toMatchObject({ code: 0, stdout: cli.fake.metrics })
})

test('events that are followed come one per line', async () => {
  const child = cli.start('event', 'list', '--follow', '--since', '36500d', '--json')
  let stdout = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  await expect.poll(() => stdout.split('\n').length, { timeout: 10_000 }).toBe(3)
  child.kill('SIGINT')
  expect(await ended).toBe(130)
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual(sample.events)
})

test.each([
  'policy set --disk d --destage relaxed',
  'cache attach fast web01.raw --mode write-back --destage relaxed',
  'policy set --disk d --destage-barrier answer',
])('vmcache %s says what is given up', async (line) => {
  const { code, stderr } = await cli.json(...line.split(' '))
  expect(code).toBe(0)
  expect(stderr).toMatch(/^given up with --destage.* order/)
})

/** What only happens on a terminal: questions, wizards, spinners, colours, what to do next. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { describeWith, pathOf } from '../support/packages.js'
import { PseudoTerminal } from '../support/pseudo-terminal.js'
import * as sample from '../support/sample-documents.js'
import { VMCACHE, commandLineTest, type CommandLineTest } from '../support/vmcache.js'

const ENTER = '\r'
const UP = '\u001b[A'
const DOWN = '\u001b[B'
const CTRL_C = '\u0003'
const CLEAR = '\u0015'

/** A machine that has the devices of $DEVICES, if any. */
const LSBLK = `#!/bin/sh
echo '{"blockdevices": ['"$DEVICES"']}'
`
const DEVICE = JSON.stringify({
  ...{ path: '/dev/nvme9n1', size: 2 ** 40, type: 'disk', fstype: null, mountpoints: [null] },
  ...{ model: 'FAST', rota: false, ro: false },
})

describeWith(['script'], 'on a terminal', () => {
  let cli: CommandLineTest
  let terminal: PseudoTerminal | null = null

  beforeAll(async () => {
    cli = await commandLineTest({
      'engine.status': sample.engine,
      'cache.list': { caches: [sample.fast, sample.spare] },
      'cache.show': sample.fast,
      'disk.list': { disks: [sample.db] },
      'stats.show': sample.stats,
      'job.list': { jobs: [] },
      'cache.create': { changed: true, cache: sample.spare },
      'cache.attach': { changed: true, disk: sample.web },
      'cache.delete': { changed: true, name: 'spare' },
      'vm.list': { vms: sample.vms },
      'vm.define': { changed: true, vm: sample.vms[1] },
      'policy.show': sample.policyOfVm,
      'vm.set': { changed: true, vm: sample.vms[1] },
      'host.set': { changed: true, host: 'kvm07' },
      'disk.flush': {
        polls: 4,
        ends: { changed: true, results: [{ name: 'db01/vda', ok: true, changed: true, error: null }] },
      },
    })
    writeFileSync(join(cli.directory, 'web 02.raw'), 'image')
    mkdirSync(join(cli.directory, 'bin'))
    writeFileSync(join(cli.directory, 'bin', 'lsblk'), LSBLK, { mode: 0o755 })
  })
  afterAll(() => cli.stop())
  beforeEach(() => void (cli.fake.requests.length = 0))
  afterEach(() => terminal?.kill())

  const on = (line: string, environment: Record<string, string> = {}): PseudoTerminal =>
    (terminal = new PseudoTerminal(pathOf('script'), `${VMCACHE} ${line}`, {
      cwd: cli.directory,
      env: { ...cli.environment, PATH: `${join(cli.directory, 'bin')}:${process.env['PATH']}`, ...environment },
    }))
  const changes = () =>
    cli.fake.requests
      .filter(({ operation }) => /create|attach|delete|define|set/.test(operation))
      .map(({ request }) => request)

  test('cache create asks for what is missing, checks it, and shows the command line', async () => {
    const asked = on('cache create')
    await asked.answer('Name of the cache', `bad/name${ENTER}`)
    await asked.answer('is not valid', `${CLEAR}spare${ENTER}`)
    await asked.answer('File to keep the cache in', `${CLEAR}${join(cli.directory, 'spare')}${ENTER}`)
    await asked.answer('Size of the file', `lots${ENTER}`)
    await asked.answer('is not a size', `${CLEAR}10g${ENTER}`)
    await asked.answer('Create cache spare?', ENTER)
    expect(await asked.end()).toBe(0)
    expect(asked.text).toContain('Its index needs up to 50 MB of memory when it is full.')
    expect(asked.text).toContain(`vmcache cache create spare --device ${join(cli.directory, 'spare')},size=10g`)
    expect(asked.text).toContain('cache spare is created')
    expect(changes()).toMatchObject([
      { name: 'spare', devices: [{ path: join(cli.directory, 'spare'), sizeBytes: 10 * 1024 ** 3 }] },
    ])
  })

  test('cache create offers the devices that hold nothing', async () => {
    const asked = on('cache create spare', { DEVICES: DEVICE })
    await asked.answer('/dev/nvme9n1  1 TB  FAST, solid state, disk', ` ${ENTER}`)
    await asked.answer('Create cache spare?', ENTER)
    expect(await asked.end()).toBe(0)
    expect(asked.text).toContain('Its index needs up to 5 GB of memory when it is full.')
    expect(changes()).toMatchObject([{ name: 'spare', devices: [{ path: '/dev/nvme9n1', sizeBytes: null }] }])
  })

  test('cache attach asks for what is missing and prints the URI', async () => {
    const asked = on('cache attach')
    await asked.answer('Cache', ENTER)
    await asked.answer('Image file, block device or NBD URI', `nowhere.raw${ENTER}`)
    await asked.answer('is not there', `${CLEAR}web 02.raw${ENTER}`)
    await asked.answer('Name of the disk', `${CLEAR}db01/vda${ENTER}`)
    await asked.answer('there is a disk db01/vda already', `${CLEAR}web02${ENTER}`)
    await asked.answer('Mode', ENTER)
    await asked.answer('at most', `${CLEAR}2g${ENTER}`)
    await asked.answer('Attach web02?', ENTER)
    expect(await asked.end()).toBe(0)
    expect(asked.text).toContain(
      `vmcache cache attach fast '${join(cli.directory, 'web 02.raw')}' --name web02 --max 2g`,
    )
    expect(asked.text).toContain(sample.web.uri)
    expect(changes()).toMatchObject([{ cache: 'fast', name: 'web02', maxBytes: 2 * 1024 ** 3 }])
    expect(changes()[0]).not.toHaveProperty('mode')
  })

  test('what is given is not asked for', async () => {
    const asked = on("cache attach fast 'web 02.raw' --name web02 --dry-run")
    expect(await asked.end()).toBe(0)
    expect(changes()).toMatchObject([{ dryRun: true, name: 'web02' }])
  })

  test('policy set asks of what, and for each setting that is chosen', async () => {
    const asked = on('policy set')
    await asked.answer('For what', `${DOWN}${ENTER}`)
    await asked.answer('Which vm', `${DOWN}${ENTER}`)
    await asked.answer('idle-timeout  60 min (host)', ` ${DOWN} ${DOWN} ${ENTER}`)
    await asked.answer('rapid-suspend', `${DOWN}${ENTER}`)
    await asked.answer('idle-timeout (a duration, or off)', `soon${ENTER}`)
    await asked.answer('is not a duration', `${CLEAR}90m${ENTER}`)
    await asked.answer('suspend-at (as cron has it, or off)', `0 22 * * *${ENTER}`)
    await asked.answer('Set this of vm desk07?', ENTER)
    expect(await asked.end()).toBe(0)
    expect(asked.text).toContain(
      `vmcache policy set --vm desk07 --rapid-suspend best-effort --idle-timeout 90m --suspend-at '0 22 * * *'`,
    )
    expect(changes()).toEqual([
      {
        ...{ name: 'desk07', rapidSuspend: 'best-effort', idleTimeoutSeconds: 5400 },
        ...{ suspendAt: '0 22 * * *', dryRun: false },
      },
    ])
  })

  test('policy set asks for what is missing alone, and changes nothing where that is refused', async () => {
    const asked = on('policy set --shares 7')
    await asked.answer('For what', `${UP}${ENTER}`)
    await asked.answer('Set this of host kvm07?', `n${ENTER}`)
    expect(await asked.end()).toBe(130)
    expect(changes()).toEqual([])
    const without = on('policy set --host kvm07 --json')
    expect(await without.end()).toBe(2)
    expect(without.text).toContain('"missing"')
  })

  test('vm define asks for name, memory and disks', async () => {
    const asked = on('vm define --cpus 2')
    await asked.answer('Name of the VM', `web01${ENTER}`)
    await asked.answer('there is a VM web01 already', `${CLEAR}web02${ENTER}`)
    await asked.answer('Memory', `${CLEAR}4g${ENTER}`)
    await asked.answer('Image file or block device', `${ENTER}`)
    await asked.answer('is not there', `web 02.raw${ENTER}`)
    await asked.answer('Format', ENTER)
    await asked.answer('Another one', ENTER)
    await asked.answer('How its processors run', `${DOWN}${ENTER}`)
    await asked.answer('Define web02?', ENTER)
    expect(await asked.end()).toBe(0)
    const path = join(cli.directory, 'web 02.raw')
    expect(asked.text).toContain(`vmcache vm define web02 --memory 4g --disk '${path}' --cpus 2 --accel tcg`)
    expect(changes()).toMatchObject([
      { name: 'web02', memoryBytes: 4 * 1024 ** 3, cpus: 2, accelerator: 'tcg', disks: [{ path, format: 'raw' }] },
    ])
  })

  test('Ctrl-C at a question changes nothing and ends with 130', async () => {
    const asked = on('cache create')
    await asked.answer('Name of the cache', CTRL_C)
    expect(await asked.end()).toBe(130)
    expect(asked.text).toContain('nothing was changed')
    expect(changes()).toEqual([])
  })

  test('cache delete asks; no is no', async () => {
    const asked = on('cache delete spare')
    await asked.answer('Delete cache spare', ENTER)
    expect(await asked.end()).toBe(130)
    expect(changes()).toEqual([])
    const agreed = on('cache delete spare')
    await agreed.answer('Delete cache spare', `y${ENTER}`)
    expect(await agreed.end()).toBe(0)
    expect(agreed.text).toContain('cache spare is deleted')
    expect(changes()).toHaveLength(1)
  })

  test('--yes answers, --json asks for nothing that a wizard would', async () => {
    expect(await on('cache delete spare --yes').end()).toBe(0)
    const refused = on('cache create --json')
    expect(await refused.end()).toBe(2)
    expect(refused.text).toContain('"missing"')
  })

  test('waiting shows progress, then what was done', async () => {
    const flushing = on('disk flush db01/vda')
    expect(await flushing.end()).toBe(0)
    expect(flushing.text).toContain('disk.flush of something: 1 KB of 4 KB (25 %)')
    expect(flushing.text).toContain('db01/vda flushed')
    const quiet = on('disk flush db01/vda --quiet')
    expect(await quiet.end()).toBe(0)
    expect(quiet.text).toBe('')
  })

  test('colours, unless somebody says no', async () => {
    const raw = async (line: string, environment: Record<string, string> = {}) => {
      const shown = on(line, environment)
      await shown.end()
      return shown.raw
    }
    expect(await raw('cache list')).toContain('\u001b[33mdegraded\u001b[39m')
    expect(await raw('cache list --no-color')).not.toContain('\u001b[3')
    expect(await raw('cache list', { NO_COLOR: '1' })).not.toContain('\u001b[3')
  })

  test('an empty list says what to do next', async () => {
    cli.fake.answers['cache.list'] = { caches: [] }
    const listed = on('cache list')
    expect(await listed.end()).toBe(0)
    expect(listed.text).toBe('no caches yet: vmcache cache create NAME --device PATH\n')
    const asked = on('cache attach')
    expect(await asked.end()).toBe(3)
    expect(asked.text).toContain('hint: make one: vmcache cache create')
  })
})

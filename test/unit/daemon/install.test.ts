import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { applySteps, installSteps, uninstallSteps, type InstallOptions } from '../../../src/daemon/install.js'
import { ENGINE_UNIT, serviceFiles, SUPERVISOR_UNIT } from '../../../src/daemon/service-files.js'
import { testWith } from '../../support/packages.js'

const program = { node: '/usr/bin/node', daemon: '/opt/vmcache/dist/daemon/main.js', stateDir: '/var/lib/vmcache' }

let root: string
let options: InstallOptions

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vmcache-install-'))
  options = { root, hasSystemd: true, run: (name) => Promise.reject(new Error(`${name} was run for another system`)) }
})
afterEach(() => rm(root, { recursive: true }))

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length))
    .sort()
}

test('lays down what is missing, and nothing twice', async () => {
  const steps = await installSteps(options, program)
  expect(await filesBelow(root)).toEqual([])
  await applySteps(steps)
  expect(await filesBelow(root)).toEqual(
    serviceFiles(program)
      .map(({ path }) => path)
      .sort(),
  )
  expect(steps.map(({ text }) => text)).toContain(`write ${root}/etc/systemd/system/${SUPERVISOR_UNIT}`)
  expect(await installSteps(options, program)).toEqual([])
  expect((await stat(join(root, 'etc/needrestart/restart.d', SUPERVISOR_UNIT))).mode & 0o777).toBe(0o755)
})

test('without systemd it is refused before anything is written, and removed without it', async () => {
  const here = { ...options, root: '/', hasSystemd: false }
  await expect(installSteps(here, program)).rejects.toMatchObject({ code: 'WRONG_STATE' })
  const removal = (await uninstallSteps(here, program)).map(({ text }) => text)
  expect(removal.filter((text) => text.includes('systemctl'))).toEqual([])
})

test('the hook of libvirt lies where libvirt looks for it, and knows the state directory', async () => {
  await applySteps(await installSteps(options, { ...program, stateDir: "/srv/it's state" }))
  const path = join(root, 'etc/libvirt/hooks/qemu.d/vmcache')
  expect((await stat(path)).mode & 0o777).toBe(0o755)
  const { status, stderr } = spawnSync('sh', ['-n', path], { encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(await readFile(path, 'utf8')).toContain(String.raw`'/srv/it'\''s state/image-locks'`)
})

test('another version replaces what is ours', async () => {
  await applySteps(await installSteps(options, program))
  const steps = await installSteps(options, { ...program, node: '/usr/local/bin/node' })
  expect(steps.map(({ text }) => text)).toEqual([`write ${root}/etc/systemd/system/${SUPERVISOR_UNIT}`])
})

test('uninstall removes all of it', async () => {
  await applySteps(await installSteps(options, program))
  await applySteps(await uninstallSteps(options, program))
  expect(await filesBelow(root)).toEqual([])
  expect(await uninstallSteps(options, program)).toEqual([])
})

test("somebody else's file is neither replaced nor removed", async () => {
  const path = join(root, 'etc/systemd/system', ENGINE_UNIT)
  await mkdir(join(path, '..'), { recursive: true })
  await writeFile(path, '[Service]\nExecStart=/bin/true\n')
  await expect(installSteps(options, program)).rejects.toMatchObject({
    code: 'REFUSED',
    message: expect.stringContaining(path),
  })
  await expect(uninstallSteps(options, program)).rejects.toMatchObject({ code: 'REFUSED' })
  expect(await readFile(path, 'utf8')).toContain('/bin/true')
})

test('what may not be written says which step', async () => {
  const steps = await installSteps({ ...options, root: '/proc' }, program)
  await expect(applySteps(steps)).rejects.toMatchObject({ message: expect.stringContaining('cannot write /proc/etc') })
})

describe('the units', () => {
  const unit = (name: string) => serviceFiles(program).find(({ path }) => path.endsWith(`system/${name}`))!.text

  test('start after the storage and before the virtual machines', () => {
    const text = unit(SUPERVISOR_UNIT)
    for (const name of ['local-fs.target', 'remote-fs.target', 'iscsid.service']) {
      expect(text).toMatch(new RegExp(`^After=.*${name}`, 'm'))
    }
    for (const name of ['libvirtd.service', 'virtqemud.service', 'libvirt-guests.service']) {
      expect(text).toMatch(new RegExp(`^Before=.*${name}`, 'm'))
    }
  })

  test('keep the supervisor when the engine is replaced', () => {
    expect(unit(SUPERVISOR_UNIT)).toContain('ExecReload=/bin/kill -HUP $MAINPID')
    expect(unit(SUPERVISOR_UNIT)).toContain('KillMode=mixed')
    // A stop of the engine's unit reaches the supervisor, a restart does not.
    expect(unit(SUPERVISOR_UNIT)).toContain(`StopPropagatedFrom=${ENGINE_UNIT}`)
    expect(unit(SUPERVISOR_UNIT)).not.toContain('PartOf=')
    expect(unit(ENGINE_UNIT)).toContain(`BindsTo=${SUPERVISOR_UNIT}`)
    expect(unit(ENGINE_UNIT)).toMatch(/ExecStop=.*SIGUSR1/)
    expect(unit(ENGINE_UNIT)).toMatch(/ExecStart=.*SIGUSR2/)
  })

  test('paths with spaces and dollars stay one word', () => {
    const odd = serviceFiles({ ...program, node: '/opt/my node', daemon: '/a$b/100%/main.js' })
    expect(odd[0]!.text).toContain('ExecStart="/opt/my node" /a$$b/100%%/main.js')
  })

  testWith(['systemd-analyze'], 'are understood by systemd', async () => {
    const files = serviceFiles({ ...program, node: process.execPath })
    const units = files.filter(({ path }) => path.endsWith('.service') && path.includes('/systemd/'))
    for (const { path, text } of units) await writeFile(join(root, path.replace(/.*\//, '')), text)
    const paths = units.map(({ path }) => join(root, path.replace(/.*\//, '')))
    const outcome = spawnSync('systemd-analyze', ['verify', '--man=no', ...paths], { encoding: 'utf8' })
    expect(outcome.stderr).toBe('')
    expect(outcome.status).toBe(0)
  })
})

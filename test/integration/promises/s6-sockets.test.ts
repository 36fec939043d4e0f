/** S6: who may use which socket: the control socket is for root and its group, disk sockets for root and that of QEMU, never one group for both. */
import { spawnSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { groupId } from '../../../src/daemon/groups.js'
import { controlSocketPath } from '../../../src/protocol/control/control-client.js'
import { describeUnless } from '../../support/conditions.js'
import { findProgram } from '../../support/programs.js'
import { MIB, makeImage, startHost, type Host } from './host.js'

/** Groups that every Debian has, in the place of those of vmcache and QEMU. */
const GROUPS = { control: 'games', disk: 'daemon' } as const

const why =
  process.getuid?.() !== 0
    ? 'only root gives sockets to groups'
    : Object.values(GROUPS).some((name) => groupId(name) === null) || findProgram('setpriv') === null
      ? 'setpriv or a group is missing'
      : !runsAsNobody('', '0')
        ? `nobody else may run ${process.execPath}`
        : null

const access = (path: string) => {
  const { mode, uid, gid } = statSync(path)
  return { mode: mode & 0o777, uid, gid }
}

/** Whether somebody of these groups, who is nobody else, can connect. */
function mayConnect(path: string, groups: string): boolean {
  const script = `require('net').connect(process.argv[1]).on('connect',()=>process.exit(0)).on('error',()=>process.exit(1))`
  return runsAsNobody(groups, script, path)
}

/** Runs a script as the user nobody in these groups; whether it succeeded. */
function runsAsNobody(groups: string, script: string, ...args: string[]): boolean {
  const identity = ['--reuid', 'nobody', '--regid', 'nogroup', groups === '' ? '--clear-groups' : `--groups=${groups}`]
  return spawnSync('setpriv', [...identity, process.execPath, '-e', script, ...args], { stdio: 'ignore' }).status === 0
}

async function serve(host: Host): Promise<{ control: string; disk: string }> {
  await host.createCache()
  const { socket } = await host.attach('web01/vda', await makeImage(join(host.directory, 'web.img'), MIB))
  return { control: controlSocketPath(host.runDir), disk: socket }
}

describeUnless(why, "S6: the machine's engine", () => {
  test('has a group for commands and another for disks, also behind a new engine', async () => {
    const configuration = `control-group: ${GROUPS.control}\ndisk-group: ${GROUPS.disk}\n`
    const host = await startHost({ forGroups: true, configuration })
    // The test's own directory is private; that of an engine is not.
    chmodSync(host.directory, 0o711)
    const { control, disk } = await serve(host)
    const check = (): void => {
      expect(access(control)).toEqual({ mode: 0o660, uid: 0, gid: groupId(GROUPS.control) })
      expect(access(disk)).toEqual({ mode: 0o660, uid: 0, gid: groupId(GROUPS.disk) })
      expect(mayConnect(control, GROUPS.control)).toBe(true)
      expect(mayConnect(disk, GROUPS.disk)).toBe(true)
      // What breaks out of a QEMU must not command the engine.
      expect(mayConnect(control, GROUPS.disk)).toBe(false)
      expect(mayConnect(disk, GROUPS.control)).toBe(false)
      expect(mayConnect(control, '')).toBe(false)
      expect(mayConnect(disk, '')).toBe(false)
    }
    check()
    await host.killEngine()
    check()
    // Nobody else puts a socket of his own there.
    for (const directory of [dirname(control), dirname(disk)]) expect(statSync(directory).mode & 0o022).toBe(0)
  })

  test('is not started with one group for both', async () => {
    const configuration = `control-group: ${GROUPS.disk}\ndisk-group: ${GROUPS.disk}\n`
    const host = await startHost({ forGroups: true, configuration, wait: false })
    await new Promise((resolve) => host.supervisor.once('exit', resolve))
    expect(host.supervisor.exitCode).toBe(2)
    expect(await host.log()).toContain('BAD_CONFIG')
  })

  test('leaves sockets without a group to root', async () => {
    const host = await startHost({ forGroups: true, configuration: 'control-group: nonesuch\ndisk-group: nonesuch2\n' })
    const { control, disk } = await serve(host)
    expect(access(control).mode & 0o007).toBe(0)
    expect(access(disk)).toMatchObject({ mode: 0o600, uid: 0 })
    chmodSync(host.directory, 0o711)
    expect(mayConnect(control, `${GROUPS.control},${GROUPS.disk}`)).toBe(false)
    expect(mayConnect(disk, `${GROUPS.control},${GROUPS.disk}`)).toBe(false)
  })
})

test('S6: the sockets of a private engine are for its user alone', async () => {
  const host = await startHost()
  const { control, disk } = await serve(host)
  expect(access(control).mode & 0o077 & ~0o070).toBe(0)
  expect(access(disk).mode).toBe(0o600)
  expect(statSync(host.runDir).mode & 0o022).toBe(0)
})

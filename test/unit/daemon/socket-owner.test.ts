import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { vmPaths } from '../../../src/hypervisor/qemu/vm-paths.js'
import { createSocketOwner, removeStaleSockets, type SocketOwner } from '../../../src/daemon/socket-owner.js'
import { testUnless, whyNotRoot } from '../../support/conditions.js'

let directory: string
let owner: SocketOwner

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-sockets-'))
  owner = createSocketOwner(directory, { mode: 0o600, gid: null })
})
afterEach(async () => {
  owner.closeAll()
  await rm(directory, { recursive: true })
})

const connected = async (path: string): Promise<boolean> => {
  const client = connect(path)
  try {
    await once(client, 'connect')
    return true
  } catch {
    return false
  } finally {
    client.destroy()
  }
}

test('a client connects although nobody accepts', async () => {
  const path = join(directory, 'disks', 'web01', 'vda.sock')
  owner.listen(path)
  expect(await connected(path)).toBe(true)
})

test('the same path gives the same socket', () => {
  const path = join(directory, 'a.sock')
  expect(owner.listen(path)).toBe(owner.listen(path))
})

test('a closed socket is gone', async () => {
  const path = join(directory, 'a.sock')
  owner.listen(path)
  owner.close(path)
  owner.close(path)
  expect(existsSync(path)).toBe(false)
  expect(await connected(path)).toBe(false)
})

test('a private socket is for its user alone', () => {
  const path = join(directory, 'a.sock')
  owner.listen(path)
  expect(statSync(path).mode & 0o777).toBe(0o600)
})

testUnless(whyNotRoot, 'a socket of the machine is for its group, and its directory can be passed', () => {
  const before = process.umask(0o077)
  try {
    const machine = createSocketOwner(directory, { mode: 0o660, gid: 6 })
    const path = join(directory, 'disks', 'a.sock')
    machine.listen(path)
    expect(statSync(path)).toMatchObject({ uid: 0, gid: 6 })
    expect(statSync(path).mode & 0o777).toBe(0o660)
    expect(statSync(join(directory, 'disks')).mode & 0o777).toBe(0o755)
    machine.closeAll()
  } finally {
    process.umask(before)
  }
})

test('what a dead supervisor left is replaced', async () => {
  const path = join(directory, 'disks', 'a.sock')
  mkdirSync(join(directory, 'disks'))
  // Node.js unlinks a socket that it closes; this one is found again under the name of another.
  const dead = createServer().listen(join(directory, 'other.sock'))
  await once(dead, 'listening')
  const { renameSync } = await import('node:fs')
  renameSync(join(directory, 'other.sock'), path)
  dead.close()
  expect(existsSync(path)).toBe(true)
  expect(await connected(path)).toBe(false)
  owner.listen(path)
  expect(await connected(path)).toBe(true)
  removeStaleSockets(directory)
  expect(existsSync(path)).toBe(false)
})

test('the monitors of VMs stay: nothing else leads to a VM that outlived its engine', async () => {
  const { monitor, directory: vm } = vmPaths(directory, 'u1')
  mkdirSync(vm, { recursive: true })
  const qemu = createServer().listen(monitor)
  await once(qemu, 'listening')
  removeStaleSockets(directory)
  expect(await connected(monitor)).toBe(true)
  qemu.close()
})

test('what is no socket stays', () => {
  const path = join(directory, 'a.sock')
  writeFileSync(path, 'precious')
  expect(() => owner.listen(path)).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }))
  removeStaleSockets(directory)
  expect(existsSync(path)).toBe(true)
})

test('a path that is too long says how long it may be', () => {
  const path = join(directory, `${'x'.repeat(120)}.sock`)
  expect(() => owner.listen(path)).toThrow(/bytes: expected at most 107/)
})

test('only below its directory', () => {
  expect(() => owner.listen('/tmp/elsewhere.sock')).toThrow(/is outside of/)
  expect(() => owner.listen(join(directory, '..', 'x.sock'))).toThrow(/is outside of/)
})

test('a socket that cannot be given to its group is not left behind', () => {
  const other = createSocketOwner(directory, { mode: 0o660, gid: 2 ** 40 })
  const path = join(directory, 'a.sock')
  chmodSync(directory, 0o700)
  expect(() => other.listen(path)).toThrow()
  expect(existsSync(path)).toBe(false)
})

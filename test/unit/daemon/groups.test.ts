import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { groupId, socketGroups, userName } from '../../../src/daemon/groups.js'
import type { Configuration } from '../../../src/model/configuration.js'

let directory: string
let file: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-groups-'))
  file = join(directory, 'group')
  await writeFile(join(directory, 'passwd'), 'root:x:0:0:root:/root:/bin/sh\nmallory:x:1000:1000::/:/bin/sh\n')
})
afterAll(() => rm(directory, { recursive: true }))

const groups = (wanted: string | null, control = 'vmcache') =>
  socketGroups({ 'control-group': control, 'disk-group': wanted } as Configuration, file)

test('S6: the control socket is for its group, disk sockets are for the one of QEMU', async () => {
  await writeFile(file, 'root:x:0:\nkvm:x:108:\nlibvirt-qemu:x:64055:\nvmcache:x:990:anna\n')
  expect(groups(null)).toEqual({ control: 990, disk: 64055 })
  expect(groups('kvm')).toEqual({ control: 990, disk: 108 })
})

test('S6: never one group for both', async () => {
  await writeFile(file, 'libvirt-qemu:x:64055:\nkvm:x:108:\n')
  expect(groups(null, 'libvirt-qemu')).toEqual({ control: 64055, disk: 108 })
  // Two names of one group are one group.
  await writeFile(file, 'a:x:108:\nkvm:x:108:\n')
  expect(groups(null, 'a')).toEqual({ control: 108, disk: null })
})

test('without the group a socket is for root alone', async () => {
  await writeFile(file, 'root:x:0:\n')
  expect(groups(null)).toEqual({ control: null, disk: null })
  expect(groups('typo')).toEqual({ control: null, disk: null })
  expect(groupId('x', file)).toBeNull()
})

test('users have names', () => {
  expect(userName(1000, join(directory, 'passwd'))).toBe('mallory')
  expect(userName(4, join(directory, 'passwd'))).toBeNull()
})

import { beforeEach, expect, test } from 'vitest'
import type { FakeVm } from '../../support/fake-vm-driver.js'
import { context, testHost, type TestHost } from './test-host.js'

let host: TestHost
let web: FakeVm

beforeEach(async () => {
  host = await testHost()
  web = host.drivers.libvirt.add('web01', { vda: host.image('web01.img') })
  await host.operations['vm.adopt']({ domains: ['web01'], connect: null, dryRun: false }, context)
})

const show = () => host.operations['vm.show']({ name: 'web01' }, context)

async function pass(seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed += 15) {
    host.aheadMonotonic += 15_000
    await host.handle.observeActivities()
  }
}

test('a VM that does nothing is idle for as long as somebody has looked', async () => {
  expect(await show()).toMatchObject({ state: 'off', idleSeconds: null, awake: [] })
  host.drivers.libvirt.startByHand('web01')
  expect(await show()).toMatchObject({ state: 'running', idleSeconds: null, awake: [] })
  await pass(90)
  expect(await show()).toMatchObject({ idleSeconds: 75, awake: [] })
})

test('what keeps a VM awake is said: its processor, its disks, a console', async () => {
  host.drivers.libvirt.startByHand('web01')
  await pass(60)
  web.load = { cpuSeconds: 30, diskRequests: 500 }
  await pass(15)
  expect(await show()).toMatchObject({
    idleSeconds: 0,
    awake: ['processor 50 %, idle is under 3 %', '500 disk requests a minute, idle is under 100'],
  })
  web.isWatched = true
  await pass(60)
  expect((await show()).awake).toEqual(['a console is open (VNC)'])
  web.isWatched = false
  await pass(60)
  expect((await show()).awake).toEqual([])
})

test('a VM that was off or stopped meanwhile begins anew', async () => {
  host.drivers.libvirt.startByHand('web01')
  await pass(120)
  web.state = 'paused'
  await pass(15)
  expect(await show()).toMatchObject({ state: 'paused', idleSeconds: null, awake: [] })
  web.state = 'running'
  await pass(15)
  expect((await show()).idleSeconds).toBe(0)
})

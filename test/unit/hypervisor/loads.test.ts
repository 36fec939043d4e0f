import { expect, test } from 'vitest'
import { parseLoads } from '../../../src/hypervisor/libvirt/loads.js'
import { secondsIn } from '../../../src/hypervisor/qemu/process-seconds.js'

test('what domains have done is in the statistics of libvirt', () => {
  const text = `Domain: 'web01'
  cpu.time=1234500000
  cpu.user=200000000
  block.count=2
  block.0.name=vda
  block.0.rd.reqs=100
  block.0.rd.bytes=409600
  block.0.wr.reqs=20
  block.0.fl.reqs=3
  block.1.name=vdb
  block.1.rd.reqs=1000

Domain: 'it's'
  cpu.time=0

`
  expect([...parseLoads(text)]).toEqual([
    ['web01', { cpuSeconds: 1.2345, diskRequests: 1123 }],
    ["it's", { cpuSeconds: 0, diskRequests: 0 }],
  ])
  expect([...parseLoads('')]).toEqual([])
})

test('the time of a process is in its stat, whatever it is called', () => {
  const stat = '17 (qemu ) 1 (2) 3) S 1 17 17 0 -1 4194560 8912 0 0 0 250 75 0 0 20 0 4 0 1234'
  expect(secondsIn(stat)).toBe(3.25)
})

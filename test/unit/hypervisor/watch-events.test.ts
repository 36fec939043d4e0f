import { expect, test } from 'vitest'
import { domainOfEvent } from '../../../src/hypervisor/libvirt/watch-events.js'

test.each([
  ["event 'lifecycle' for domain 'web01': Started Booted", 'web01'],
  ["event 'lifecycle' for domain 'web 01': Resumed Unpaused", 'web 01'],
  ["event 'io-error' for domain 'db': /i/db.img (virtio-disk0) paused", 'db'],
  ["event 'reboot' for domain 'web01'", 'web01'],
  ["event 'rtc-change' for domain 'web01': 0", null],
  ["event 'migration-iteration' for domain 'web01': iteration: '1'", null],
  ['events received: 3', null],
  ['', null],
])('%j is of %j', (line, domain) => {
  expect(domainOfEvent(line)).toBe(domain)
})

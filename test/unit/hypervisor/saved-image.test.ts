import { expect, test } from 'vitest'
import { readsOfStart, savedImageStart } from '../../../src/hypervisor/libvirt/saved-image.js'

test('a saved image begins as struct virQEMUSaveHeader of libvirt says', () => {
  const xml = "<domain type='kvm'>é</domain>\n"
  const start = savedImageStart(xml)
  // Magic; version 2; 32 bytes of XML with its zero; the domain was running; raw; no cookie; 14 unused.
  expect(start.subarray(0, 92).toString('hex')).toBe(
    Buffer.concat([
      Buffer.from('LibvirtQemudSave'),
      Buffer.from('0200000020000000010000000000000000000000', 'hex'),
      Buffer.alloc(56),
    ]).toString('hex'),
  )
  expect(start.subarray(92).toString()).toBe(`${xml}\0`)
  expect(start.length).toBe(92 + 32)
})

test.each([
  ['6.0.0', 1],
  ['9.0.0', 1],
  ['11.1.9', 1],
  ['11.2.0', 2],
  ['11.10.0', 2],
  ['12.0.0', 2],
])('libvirt %s reads it %i times', (version, count) => expect(readsOfStart(version)).toBe(count))

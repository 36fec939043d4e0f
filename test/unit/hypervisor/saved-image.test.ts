import { expect, test } from 'vitest'
import { readsOfStart, savedDomain, savedImageStart } from '../../../src/hypervisor/libvirt/saved-image.js'

test('a saved image begins as struct virQEMUSaveHeader of libvirt says', () => {
  const xml = "<domain type='kvm'>é</domain>\n"
  const start = savedImageStart({ xml, cookie: '<cookie/>\n' })
  const header = Buffer.concat([
    Buffer.from('LibvirtQemudSave'),
    // Version; bytes of XML and cookie with their zeroes; the domain was running; raw; the cookie follows 32 bytes of XML.
    Buffer.from('02000000' + '2b000000' + '01000000' + '00000000' + '20000000', 'hex'),
    Buffer.alloc(56),
  ])
  expect(header.length).toBe(92)
  expect(start.toString('hex')).toBe(Buffer.concat([header, Buffer.from(`${xml}\0<cookie/>\n\0`)]).toString('hex'))
})

test('the processor that a guest sees goes with it where the XML does not say it', () => {
  const domain = (cpu: string): string =>
    `<domain>\n  <metadata>\n    <cpu>no</cpu>\n  </metadata>\n  <cputune/>\n${cpu}  <devices>\n  </devices>\n</domain>\n`
  const custom = "  <cpu mode='custom' match='exact'>\n    <model>EPYC</model>\n  </cpu>\n"
  const hostModel = domain("  <cpu mode='host-model'/>\n")
  expect(savedDomain(hostModel, domain(custom))).toEqual({
    xml: hostModel,
    cookie: `<cookie>\n${custom}  <slirpHelper/>\n</cookie>\n`,
  })
  for (const same of [domain(custom), hostModel, domain('')]) {
    expect(savedDomain(same, same).cookie).toBe('<cookie>\n  <slirpHelper/>\n</cookie>\n')
  }
})

test.each([
  ['6.0.0', 1],
  ['9.0.0', 1],
  ['11.1.9', 1],
  ['11.2.0', 2],
  ['11.10.0', 2],
  ['12.0.0', 2],
])('libvirt %s reads it %i times', (version, count) => expect(readsOfStart(version)).toBe(count))

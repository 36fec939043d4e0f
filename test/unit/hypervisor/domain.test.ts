import { expect, test } from 'vitest'
import { parseDomain } from '../../../src/hypervisor/libvirt/domain.js'
import { parseXml } from '../../../src/hypervisor/libvirt/xml.js'
import { SeededRandom } from '../../../src/base/random.js'

const disk = (inside: string, attributes = `type='file' device='disk'`) => `<disk ${attributes}>${inside}</disk>`
const raw = `<driver name='qemu' type='raw'/>`
const domain = (...disks: string[]) => `<?xml version="1.0"?>
<!-- <name>not this</name> -->
<domain type='kvm' id='1'>
  <name>web &amp; db</name>
  <memory unit='KiB'>65536</memory>
  <metadata><x:note xmlns:x="http://x/">a > b</x:note></metadata>
  <devices>
    ${disks.join('\n')}
    <controller type='usb' index='0'/>
  </devices>
</domain>`

test('a domain as libvirt 9 shows it', () => {
  const vda = `<driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/><source file='/i/a&apos;b&#233;.img' index='2'/>
<backingStore/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/>`
  expect(parseDomain(domain(disk(vda)))).toEqual({
    name: 'web & db',
    memoryBytes: 64 * 2 ** 20,
    disks: [
      {
        target: 'vda',
        device: 'virtio-disk0',
        path: "/i/a'bé.img",
        discard: true,
        io: 'native',
        stopsOnError: false,
        whyDirect: null,
      },
    ],
  })
})

test.each([
  [raw, `type='file' device='cdrom'`, 'medium'],
  [raw, `type='file' device='floppy'`, 'medium'],
  [raw, `type='block' device='lun'`, 'LUN pass-through'],
  [`${raw}<shareable/>`, `type='file'`, 'shareable'],
  [`${raw}<readonly/>`, `type='file'`, 'read-only'],
  [`${raw}<transient/>`, `type='file'`, 'transient'],
  [`<driver type='qcow2'/>`, `type='file'`, 'qcow2 image'],
  [
    `<driver type='qcow2'/><backingStore type='file'><format type='raw'/><source file='/b'/></backingStore>`,
    `type='file'`,
    'qcow2 with a backing chain',
  ],
  [`${raw}<source file='/a'><slices><slice type='storage'/></slices></source>`, `type='file'`, 'a part of its image'],
  [raw, `type='file'`, null],
])('%s of %s stays direct: %s', (inside, attributes, why) => {
  expect(parseDomain(domain(disk(`${inside}<target dev='vda'/>`, attributes))).disks[0]!.whyDirect).toBe(why)
})

test.each(['', 'x', '<a', '<a>', '<a></b>', '</a>', '<a></a></a>', '<a b=c/>'])('%j is no document', (text) => {
  expect(() => parseXml(text)).toThrow(expect.objectContaining({ code: 'HYPERVISOR' }))
})

test('a damaged document is understood or refused, and soon', () => {
  const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  const random = new SeededRandom(seed)
  const whole = domain(disk(raw), disk(`${raw}<target dev='vdb'/>`))
  for (let run = 0; run < 2000; run++) {
    const at = random.below(whole.length)
    const text = whole.slice(0, at) + '<>&\'"/!- '[random.below(9)]! + whole.slice(at + random.below(5))
    try {
      parseDomain(text)
    } catch (error) {
      const message = `FUZZ_SEED=${seed} npx vitest run test/unit/hypervisor/domain.test.ts: ${text}`
      expect(error, message).toMatchObject({ code: 'HYPERVISOR' })
    }
  }
})

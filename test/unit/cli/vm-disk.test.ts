import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { qemuArguments } from '../../../src/cli/qemu-arguments.js'
import { parseVmDisk } from '../../../src/cli/vm-disk.js'

test('a disk is a path, and perhaps a format', () => {
  expect(parseVmDisk('/a.img')).toEqual({ path: '/a.img', format: 'raw' })
  expect(parseVmDisk('a.qcow2,format=qcow2')).toEqual({ path: resolve('a.qcow2'), format: 'qcow2' })
})

test.each(['', ',format=raw', '/a,format=vmdk', '/a,size=1g', '/a,'])('%j is refused', (text) => {
  expect(() => parseVmDisk(text)).toThrow(expect.objectContaining({ code: 'USAGE' }))
})

test('what follows -- is another program’s', () => {
  expect(qemuArguments(['web01', '--disk', 'a', '--', '-S', '--', 'b'])).toEqual({
    before: ['web01', '--disk', 'a'],
    after: ['-S', '--', 'b'],
  })
  expect(qemuArguments(['web01'])).toEqual({ before: ['web01'], after: [] })
})

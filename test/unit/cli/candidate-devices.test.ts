import { expect, test } from 'vitest'
import { freeDevices } from '../../../src/cli/wizard/candidate-devices.js'

const device = (path: string, more: object = {}) => ({
  path,
  size: 1024 ** 4,
  type: 'disk',
  fstype: null,
  mountpoints: [null],
  model: 'SAMSUNG  ',
  rota: false,
  ro: false,
  ...more,
})

test('only what holds nothing is offered, solid state first', () => {
  const blockdevices = [
    device('/dev/sda', { children: [device('/dev/sda1', { type: 'part', fstype: 'ext4' })] }),
    device('/dev/sdb', { rota: true, model: null }),
    device('/dev/nvme0n1', { mountpoints: ['/data'] }),
    device('/dev/nvme1n1'),
    device('/dev/nvme2n1', { children: [device('/dev/nvme2n1p1', { type: 'part' })] }),
    device('/dev/sr0', { type: 'rom' }),
    device('/dev/loop0', { type: 'loop' }),
    device('/dev/nvme3n1', { ro: true }),
    device('/dev/nvme4n1', { size: 0 }),
  ]
  expect(freeDevices(JSON.stringify({ blockdevices }))).toEqual([
    { path: '/dev/nvme1n1', sizeBytes: 1024 ** 4, description: 'SAMSUNG, solid state, disk' },
    { path: '/dev/nvme2n1p1', sizeBytes: 1024 ** 4, description: 'SAMSUNG, solid state, part' },
    { path: '/dev/sdb', sizeBytes: 1024 ** 4, description: 'rotating, disk' },
  ])
})

import { systemClock } from '../../src/base/clock.js'
import { systemRandom } from '../../src/base/random.js'
import { createLibvirtDriver } from '../../src/hypervisor/libvirt/libvirt-driver.js'
import { whyNoPrivateMounts } from '../support/conditions.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { defineDomain, startLibvirt } from '../support/libvirt.js'
import { describeWith } from '../support/packages.js'
import { vmDriverContract } from './vm-driver.js'

describeWith(
  ['libvirtd', 'virsh', 'qemu-system-x86_64', 'qemu-img', 'busybox', 'nbdkit', 'unshare'],
  'the driver of libvirt',
  () => {
    vmDriverContract(async (directory, onChange) => {
      const libvirt = await startLibvirt(directory)
      const driver = createLibvirtDriver({ clock: systemClock, random: systemRandom, onChange })
      return {
        driver,
        connect: libvirt.uri,
        async define(vm) {
          await defineDomain(libvirt, directory, 'web01', vm)
          return { ...(await driver.find('web01', libvirt.uri)), connect: libvirt.uri, definition: null }
        },
        stop: () => libvirt.stop(),
      }
    })
  },
  whyNoPrivateMounts() ?? (await whyNoGuest()),
)

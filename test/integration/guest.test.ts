/** The guest harness itself, against nbdkit: what a cached disk is compared with. */
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startGuest, type Guest } from '../support/guest/guest.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { describeWith, pathOf } from '../support/packages.js'
import { must, Processes, until } from '../support/processes.js'

describeWith(
  ['qemu-system-x86_64', 'busybox', 'nbdkit', 'mke2fs', 'e2fsck'],
  'a guest',
  () => {
    const processes = new Processes()
    let directory: string
    let guest: Guest | null = null

    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), 'vmcache-guest-'))
    })
    afterEach(async () => {
      await guest?.stop()
      guest = null
      await processes.stopAll()
      await rm(directory, { recursive: true, force: true })
    })

    test(
      'boots, makes a file system on its disk, writes files and finds them again',
      { timeout: 300_000 },
      async () => {
        const image = join(directory, 'disk.img')
        const socket = join(directory, 'nbd.sock')
        await must('truncate', ['-s', '64M', image])
        processes.start(pathOf('nbdkit'), ['-f', '-U', socket, 'file', image])
        await until('the socket of nbdkit', () =>
          access(socket).then(
            () => true,
            () => false,
          ),
        )

        guest = await startGuest({ directory, disks: [{ socket }], programs: ['mke2fs', 'e2fsck'] })
        await guest.run('/sbin/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt')
        await guest.run(
          'for i in $(seq 20); do head -c 100000 /dev/urandom > /mnt/file$i; done; sync; md5sum /mnt/file* > /tmp/sums',
        )
        await guest.run('umount /mnt && /sbin/e2fsck -fn /dev/vda && mount -t ext4 /dev/vda /mnt')
        expect(await guest.run('md5sum -c /tmp/sums | grep -c OK')).toBe('20')
        await guest.run('umount /mnt')

        const slow = guest.start('echo one; sleep 0.2; echo two; exit 3')
        expect(await slow.waitForLine(/tw/)).toBe('two')
        expect(await slow.ended).toEqual({ code: 3, output: 'one\ntwo' })
        await guest.stop()
        await must(pathOf('e2fsck'), ['-fn', image])
      },
    )
  },
  await whyNoGuest(),
)

/**
 * The guest harness itself, against nbdkit: what a cached disk is compared with. And what write-back is for: a guest that writes stamped
 * blocks and works on a database sees no error, and loses nothing, over kills and restarts of the engine.
 *
 * VMCACHE_TEST_KILLS and VMCACHE_TEST_RESTARTS say how often (100 and 20 for the long run).
 */
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { startCachedDisk, type CachedDisk } from '../support/cached-disk.js'
import { BANK_AUDIT, BANK_OPENING, BANK_SCRIPT } from '../support/guest/bank.js'
import { startGuest, type Guest, type GuestCommand } from '../support/guest/guest.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { checkStamps, stampScript } from '../support/guest/stamps.js'
import { describeWith, pathOf } from '../support/packages.js'
import { must, Processes, until } from '../support/processes.js'

const KILLS = Number(process.env['VMCACHE_TEST_KILLS'] ?? 3)
const RESTARTS = Number(process.env['VMCACHE_TEST_RESTARTS'] ?? 1)
const noGuest = await whyNoGuest()

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
  noGuest,
)

describeWith(
  ['qemu-system-x86_64', 'busybox', 'sqlite3', 'mke2fs', 'e2fsck'],
  'D1 D2 S1: a guest on a disk in write-back',
  () => {
    let disk: CachedDisk | null = null
    let guest: Guest | null = null
    afterEach(async () => {
      await guest?.stop()
      await disk?.stop()
    })

    test(
      `sees no error and loses nothing over ${KILLS} kills and ${RESTARTS} restarts of the engine`,
      { timeout: 300_000 + (KILLS + RESTARTS) * 60_000 },
      async () => {
        const [fileSystemMebibytes, stamped] = [96, { first: (96 * 1024) / 4, blocks: 101 }]
        disk = await startCachedDisk({
          origin: async (directory) => {
            const image = join(directory, 'origin.img')
            await must('truncate', ['-s', '100M', image])
            return image
          },
          attachFlags: ['--mode', 'write-back'],
        })
        const { directory, socket, cli } = disk
        guest = await startGuest({
          directory,
          disks: [{ socket }],
          programs: ['mke2fs', 'e2fsck', 'sqlite3'],
          reconnectSeconds: 300,
        })
        await guest.run(
          `/sbin/mke2fs -q -F -t ext4 /dev/vda ${fileSystemMebibytes}M && mount -t ext4 /dev/vda /mnt && ${BANK_OPENING}`,
        )
        const loads: GuestCommand[] = [stampScript('/dev/vda', stamped), BANK_SCRIPT].map((script) =>
          guest!.start(script),
        )
        let ended = false
        for (const load of loads) void load.ended.then(() => (ended = true))
        /** Ends when each load has done two steps more. */
        const goOn = async (): Promise<void> => {
          const before = loads.map((load) => load.lines().length)
          await until(
            'two more steps of both loads',
            () => ended || loads.every((load, index) => load.lines().length > before[index]! + 1),
            180_000,
          ).catch(async (error: unknown) => {
            const [status, talk] = [await cli.read('disk', 'show', 'disk'), await guest!.run('dmesg | tail -n 20')]
            throw new Error(`${String(error)}\n${status}\n${talk}`)
          })
          if (ended) throw new Error(loads.map((load) => load.lines().slice(-5).join('\n')).join('\n---\n'))
        }
        const every = Math.floor((KILLS + RESTARTS) / RESTARTS)
        const ends = Array.from({ length: KILLS + RESTARTS }, (_, end) =>
          (end + 1) % every === 0 ? 'restart' : 'kill',
        )
        for (const end of ends) {
          await goOn()
          if (end === 'kill') await disk.killEngine()
          else await cli.ask('engine', 'restart')
        }
        await goOn()
        await guest.run('touch /tmp/stop')
        for (const load of loads) expect(await load.ended).toMatchObject({ code: 0 })

        const [stamps, transfers] = loads.map((load) =>
          Number(/\d+$/.exec(load.lines().findLast((line) => /^(stamp|transfer) \d+$/.test(line))!)![0]),
        )
        process.stderr.write(`a guest in write-back: ${stamps} stamped blocks and ${transfers} transfers\n`)
        await guest.run('sync; echo 3 > /proc/sys/vm/drop_caches')
        expect(Number(await guest.run(BANK_AUDIT))).toBe(transfers)
        await guest.run('umount /mnt && /sbin/e2fsck -fn /dev/vda')
        expect(await guest.run('dmesg | grep -iE "i/o error|ext4-fs (error|warning)|remount" || true')).toBe('')
        expect(guest.monitor.events.filter((event) => /ERROR|STOP/.test(event))).toEqual([])
        await guest.stop()
        await cli.ask('disk', 'flush', 'disk')
        const image = join(directory, 'origin.img')
        expect(await checkStamps(image, stamped)).toEqual({ newest: stamps, wrong: [] })
        await must(pathOf('e2fsck'), ['-fn', image])
      },
    )
  },
  noGuest,
)

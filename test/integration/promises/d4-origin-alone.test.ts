/**
 * D4: in ordered write-back the origin alone is, at any instant, a state in which a power cut could have left the disk: a real guest's
 * journaling file system on a copy of it is whole, and of blocks that were flushed one after the other it has the first ones, without a gap.
 */
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { DEFAULT_WRITE_BACK } from '../../../src/model/write-back.js'
import { startGuest } from '../../support/guest/guest.js'
import { whyNoGuest } from '../../support/guest/kernel.js'
import { checkStamps, stampScript } from '../../support/guest/stamps.js'
import { describeWith, pathOf } from '../../support/packages.js'
import { must, run } from '../../support/processes.js'
import { MIB, makeImage, startHost, startNbdkit, testProcesses } from './host.js'

const COPIES = Number(process.env['VMCACHE_TEST_COPIES'] ?? 12)
/** Flushed stamps that the origin lacks when it goes on. */
const GATHERED = 8
const FILE_SYSTEM_MIB = 48
const STAMPED = { first: (FILE_SYSTEM_MIB * MIB) / 4096, blocks: 61 }

/** Replays the journal of a copy; then it must be whole. Returns the number in the file `sequence` of it, 0 where there is none yet. */
async function mend(copy: string): Promise<number> {
  const { code, stdout } = await run(pathOf('e2fsck'), ['-p', copy])
  expect(code, stdout).toBeLessThanOrEqual(1)
  await must(pathOf('e2fsck'), ['-fn', copy])
  const { stdout: text } = await run(pathOf('debugfs'), ['-R', 'cat sequence', copy])
  return Number(text)
}

describeWith(
  ['qemu-system-x86_64', 'busybox', 'nbdkit', 'mke2fs', 'e2fsck', 'debugfs'],
  'D4: the origin of a disk in write-back, alone',
  () => {
    test(
      `is whole in ${COPIES} copies that are taken while a guest writes`,
      { timeout: 300_000 + COPIES * 20_000 },
      async () => {
        const host = await startHost()
        await host.createCache()
        const image = await makeImage(join(host.directory, 'export.img'), (FILE_SYSTEM_MIB + 4) * MIB)
        const socket = join(host.directory, 'export.sock')
        // Slow, so that copies are taken in the middle of spans.
        const slow = ['--filter=delay', 'file', image, 'wdelay=20ms']
        const { uri, process: server } = await startNbdkit(testProcesses(), socket, ...slow)
        // What a guest writes is on its way to the origin at once.
        // Seen to fail with order 'relaxed'.
        const writeBack = { ...DEFAULT_WRITE_BACK, dirtyLowBytes: 4096 }
        const { socket: disk } = await host.attach('web', uri, { mode: 'write-back', exclusive: true, writeBack })
        const guest = await startGuest({ directory: host.directory, disks: [{ socket: disk }], programs: ['mke2fs'] })
        try {
          await guest.run(`/sbin/mke2fs -q -F -t ext4 /dev/vda ${FILE_SYSTEM_MIB}M && mount -t ext4 /dev/vda /mnt`)
          await guest.run('echo 0 > /mnt/sequence; sync')
          await host.flush('web')
          // After each stamp a file says so, and is flushed too; beside it files come and go.
          const beside = 'echo $v > /mnt/next && sync /mnt/next && mv /mnt/next /mnt/sequence && sync /mnt'
          const stamps = guest.start(stampScript('/dev/vda', STAMPED, { beside }))
          const files = guest.start(
            'i=0; while [ ! -e /tmp/stop ]; do i=$((i + 1)); head -c 30000 /dev/urandom > /mnt/file$((i % 20)) && rm -f /mnt/file$((i * 7 % 20)) || exit 1; done',
          )
          await stamps.waitForLine(/^stamp 2$/)
          const seen: number[] = []
          for (let index = 0; index < COPIES; index++) {
            // Some stamps gather while it stands still; then it goes on for a moment.
            server.kill('SIGSTOP')
            await stamps.waitForLine(new RegExp(`^stamp ${stamps.lines().length + GATHERED}$`))
            server.kill('SIGCONT')
            await new Promise((resolve) => setTimeout(resolve, 20 + ((index * 379) % 300)))
            server.kill('SIGSTOP')
            const copy = join(host.directory, 'copy.img')
            await copyFile(image, copy)
            server.kill('SIGCONT')
            const { newest, wrong } = await checkStamps(copy, STAMPED)
            expect(wrong, `copy ${index}`).toEqual([])
            const sequence = await mend(copy)
            expect(sequence, `copy ${index} has stamp ${newest}`).toBeGreaterThanOrEqual(newest - 1)
            expect(sequence, `copy ${index} has stamp ${newest}`).toBeLessThanOrEqual(newest)
            seen.push(newest)
          }
          await guest.run('touch /tmp/stop')
          expect(await files.ended).toMatchObject({ code: 0 })
          expect(await stamps.ended).toMatchObject({ code: 0 })
          process.stderr.write(`D4: copies with the stamps ${seen.join(' ')} of ${stamps.lines().length}\n`)
          expect(new Set(seen).size).toBeGreaterThan(COPIES / 3)
        } finally {
          await guest.stop()
        }
      },
    )
  },
  await whyNoGuest(),
)

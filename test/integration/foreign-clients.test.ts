/** Stock clients work on a cached disk as on any other: nothing is refused, lost or changed on the way. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startCachedDisk, type CachedDisk } from '../support/cached-disk.js'
import { startGuest } from '../support/guest/guest.js'
import { whyNoGuest } from '../support/guest/kernel.js'
import { describeWith, pathOf } from '../support/packages.js'
import { must } from '../support/processes.js'
import { connectSimpleNbd } from '../support/simple-nbd-client.js'

const MEBIBYTE = 1024 * 1024
const SIZE = 64 * MEBIBYTE

const MODES = ['write-through', 'write-back'] as const

describe.each(MODES)('foreign clients over a cached disk in %s', (mode) => {
  let disk: CachedDisk
  /** The image, which has all that was written. */
  const origin = async (): Promise<string> => {
    await disk.cli.ask('disk', 'flush', 'disk')
    return join(disk.directory, 'origin.img')
  }

  beforeAll(async () => {
    disk = await startCachedDisk({
      origin: (directory) => sparseImage(join(directory, 'origin.img')),
      attachFlags: ['--mode', mode],
    })
  })
  afterAll(() => disk?.stop())

  describeWith(['qemu-img'], 'qemu-img', () => {
    const image = (...args: string[]): Promise<string> => must(pathOf('qemu-img'), args)

    test('info sees a raw disk of the right size', async () => {
      const info = JSON.parse(await image('info', '--output=json', disk.uri)) as Record<string, unknown>
      expect(info).toMatchObject({ format: 'raw', 'virtual-size': SIZE })
    })

    test('compare finds the disk equal to its origin, twice', async () => {
      for (let pass = 0; pass < 2; pass++) {
        expect(await image('compare', '-f', 'raw', '-F', 'raw', '-U', disk.uri, await origin())).toMatch(/identical/)
      }
    })

    test('convert reads all of it', async () => {
      const copy = join(disk.directory, 'copy.qcow2')
      await image('convert', '-f', 'raw', '-O', 'qcow2', disk.uri, copy)
      expect(await image('compare', '-U', copy, await origin())).toMatch(/identical/)
    })

    test('convert writes all of it', async () => {
      const other = await sparseImage(join(disk.directory, 'other.img'))
      await image('convert', '-n', '-f', 'raw', '-O', 'raw', other, disk.uri)
      expect(await image('compare', '-f', 'raw', '-F', 'raw', '-U', disk.uri, other)).toMatch(/identical/)
      expect(await image('compare', '-U', '-f', 'raw', '-F', 'raw', await origin(), other)).toMatch(/identical/)
    })
  })

  describeWith(['nbdcopy', 'nbdinfo'], 'libnbd', () => {
    test('nbdinfo shows what the disk can do', async () => {
      const { exports } = JSON.parse(await must(pathOf('nbdinfo'), ['--json', disk.uri])) as {
        exports: Record<string, unknown>[]
      }
      expect(exports[0]).toMatchObject({
        'export-size': SIZE,
        is_read_only: false,
        can_flush: true,
        can_fua: true,
        can_multi_conn: true,
        can_trim: true,
        can_zero: true,
        can_cache: true,
        can_df: true,
        contexts: ['base:allocation'],
      })
    })

    test('nbdinfo --map covers the disk without gaps', async () => {
      const extents = JSON.parse(await must(pathOf('nbdinfo'), ['--map', '--json', disk.uri])) as {
        offset: number
        length: number
      }[]
      let end = 0
      for (const { offset, length } of extents) {
        expect(offset).toBe(end)
        end += length
      }
      expect(end).toBe(SIZE)
      expect(extents.length).toBeGreaterThan(1)
    })

    test('nbdinfo --map shows what was just written, zeroed and trimmed', async () => {
      const client = await connectSimpleNbd(disk.socket)
      await client.write(40 * MEBIBYTE, Buffer.alloc(3 * MEBIBYTE, 1))
      await client.writeZeroes(41 * MEBIBYTE, MEBIBYTE)
      await client.trim(42 * MEBIBYTE, MEBIBYTE / 2)
      await client.close()
      const extents = JSON.parse(await must(pathOf('nbdinfo'), ['--map', '--json', disk.uri])) as {
        offset: number
        length: number
        type: number
      }[]
      const zeroAt = (at: number): boolean =>
        ((extents.find(({ offset, length }) => offset <= at && at < offset + length)?.type ?? 0) & 2) !== 0
      const mebibytes = [39.5, 40.5, 41.5, 42.25, 42.75, 43.5]
      expect(mebibytes.map((at) => zeroAt(at * MEBIBYTE))).toEqual([true, false, true, true, false, true])
    })

    test('nbdcopy reads what is there, and writes what is read back', async () => {
      const copy = join(disk.directory, 'copy.img')
      await must(pathOf('nbdcopy'), [disk.uri, copy])
      expect((await readFile(copy)).equals(await readFile(await origin()))).toBe(true)

      const other = await sparseImage(join(disk.directory, 'another.img'))
      await must(pathOf('nbdcopy'), ['--flush', other, disk.uri])
      await must(pathOf('nbdcopy'), [disk.uri, copy])
      expect((await readFile(copy)).equals(await readFile(other))).toBe(true)
      expect((await readFile(await origin())).equals(await readFile(other))).toBe(true)
    })
  })

  describeWith(['fio'], 'fio', () => {
    test.each([
      ['4 KiB, 16 in flight', ['--bs=4k', '--iodepth=16']],
      ['sizes from one sector to 256 KiB, on sector boundaries', ['--bsrange=512-256k', '--iodepth=8']],
      ['with flushes and trims between', ['--bs=8k', '--iodepth=8', '--fsync=32', '--trim_percentage=10']],
    ])('verifies what it wrote: %s', async (_name, flags) => {
      const load = [
        '--name=verify',
        '--ioengine=nbd',
        `--uri=${disk.uri}`,
        '--rw=randrw',
        '--size=32m',
        '--io_size=48m',
      ]
      await must(pathOf('fio'), [
        ...load,
        ...flags,
        '--verify=crc32c',
        '--verify_fatal=1',
        '--do_verify=1',
        '--verify_state_save=0',
      ])
    })
  })
})

describeWith(
  ['qemu-system-x86_64', 'busybox', 'mke2fs', 'e2fsck'],
  'a guest on a cached disk',
  () => {
    let disk: CachedDisk
    afterEach(() => disk?.stop())

    test.each(MODES)(
      'makes a file system, writes through a kill of the engine, and finds every file again (%s)',
      { timeout: 300_000 },
      async (mode) => {
        disk = await startCachedDisk({
          origin: (directory) => sparseImage(join(directory, 'origin.img')),
          attachFlags: ['--mode', mode],
        })
        const { directory, socket } = disk
        const guest = await startGuest({ directory, disks: [{ socket }], programs: ['mke2fs', 'e2fsck'] })
        try {
          await guest.run('/sbin/mke2fs -q -F -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt')
          const writer = guest.start(
            'for i in $(seq 40); do head -c 50000 /dev/urandom > /mnt/file$i && sync || exit 1; echo $i; done',
          )
          await writer.waitForLine(/^5$/)
          await disk.killEngine()
          expect((await writer.ended).code).toBe(0)
          await guest.run('md5sum /mnt/file* > /tmp/sums; umount /mnt; echo 3 > /proc/sys/vm/drop_caches')
          await guest.run('/sbin/e2fsck -fn /dev/vda && mount -t ext4 /dev/vda /mnt')
          expect(await guest.run('md5sum -c /tmp/sums | grep -c OK')).toBe('40')
          await guest.run('umount /mnt')
          expect(guest.monitor.events).not.toContain('BLOCK_IO_ERROR')
        } finally {
          await guest.stop()
        }
        await disk.cli.ask('disk', 'flush', 'disk')
        await must(pathOf('e2fsck'), ['-fn', join(directory, 'origin.img')])
        expect((await disk.stats()).readHits).toBeGreaterThan(0)
      },
    )
  },
  await whyNoGuest(),
)

/** A raw image with data, zeroes and holes. */
async function sparseImage(path: string): Promise<string> {
  const piece = (at: number, mebibytes: number): string =>
    `dd if=/dev/urandom of=${path} bs=1M seek=${at} count=${mebibytes} conv=notrunc status=none`
  await must('sh', ['-c', `truncate -s ${SIZE} ${path} && ${piece(0, 6)} && ${piece(20, 10)} && ${piece(63, 1)}`])
  return path
}

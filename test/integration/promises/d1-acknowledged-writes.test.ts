/**
 * D1: what an answer means to the origin, and in write-back without it. That acknowledged writes survive a kill is kill.test.ts; that flushed ones survive a power cut is the
 * simulation.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { describeWith } from '../../support/packages.js'
import { PAGE, makeImage, pageOf, pagesOf, readPages, startHost, startNbdkit, testProcesses } from './host.js'

const PAGES = 256
/** So slow that who answers early is found out. */
const SLOW = ['--filter=log', '--filter=delay', 'file']
const WAIT = { waitMilliseconds: 10_000 }

describeWith(['nbdkit'], 'D1: an origin that is asked what reached it', () => {
  test.each(['write-through', 'write-around', 'pass-through'] as const)(
    'has every write when it is answered, and has flushed it when the flush or the FUA write is (%s)',
    async (mode) => {
      const host = await startHost()
      await host.createCache()
      const log = join(host.directory, 'origin.log')
      const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
      const socket = join(host.directory, 'export.sock')
      const { uri } = await startNbdkit(testProcesses(), socket, ...SLOW, image, `logfile=${log}`, 'wdelay=30ms')
      await host.attach('web', uri, { mode })
      const client = await host.connect('web')
      // Of the calls that have ended: what the last flush covers, and what came after.
      const calls = async () =>
        (await readFile(log, 'utf8')).split('\n').flatMap((line) => /\.\.\.(Write|Flush|Zero) /.exec(line)?.[1] ?? [])

      await client.write(0, pageOf(0, 1))
      expect((await readFile(image)).subarray(0, PAGE).equals(pageOf(0, 1))).toBe(true)
      expect((await calls()).at(-1)).toBe('Write')
      await client.flush()
      expect((await calls()).at(-1)).toBe('Flush')

      await client.write(5 * PAGE, pageOf(5, 1), { fua: true })
      expect((await calls()).slice(-2)).toEqual(['Write', 'Flush'])

      await Promise.all(Array.from({ length: 64 }, (_, page) => client.write(page * PAGE, pageOf(page, 2))))
      await client.flush()
      expect((await calls()).at(-1)).toBe('Flush')
      await client.close()
    },
  )

  test(
    'a flush that the origin refuses is an error to the guest, and the next one covers what it did not',
    {
      timeout: 120_000,
    },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
      const broken = join(host.directory, 'broken')
      const script = [
        'eval',
        `get_size=echo ${PAGES * PAGE}`,
        `pread=dd if=${image} iflag=count_bytes,skip_bytes skip=$4 count=$3 status=none`,
        `pwrite=dd of=${image} conv=notrunc oflag=seek_bytes seek=$4 status=none`,
        `flush=test ! -e ${broken} || { echo EIO refused >&2; exit 1; }`,
        'can_flush=exit 0',
      ]
      const processes = testProcesses()
      const { uri, process: server } = await startNbdkit(processes, join(host.directory, 'export.sock'), ...script)
      await host.attach('web', uri)
      const client = await host.connect('web')
      await client.write(0, pageOf(0, 1))
      await makeImage(broken, 0)
      await expect(client.flush()).rejects.toMatchObject({ errno: 5 })
      await expect(client.write(PAGE, pageOf(1, 1), { fua: true })).rejects.toMatchObject({ errno: 5 })
      // D5: nor is a disk given up whose last writes may be lost.
      await expect(host.detach('web', { force: true })).rejects.toMatchObject({ code: 'ORIGIN_FAILED' })
      expect(await host.disk('web')).toMatchObject({ state: 'serving' })
      await rm(broken)
      const again = await host.connect('web')
      await again.flush()
      await again.close()
      await host.detach('web')
      expect((await readFile(image)).subarray(0, 2 * PAGE)).toEqual(Buffer.concat([pageOf(0, 1), pageOf(1, 1)]))
      // It has files of its own in /tmp, which it removes where it is asked to end.
      await processes.stop(server, 'SIGTERM')
    },
  )

  test(
    'what a lost origin may have forgotten is an error to the next flush, whoever asks for it, and to nobody else',
    {
      timeout: 120_000,
    },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
      const socket = join(host.directory, 'export.sock')
      const processes = testProcesses()
      const { uri, process: server } = await startNbdkit(processes, socket, 'file', image)
      await host.attach('web', uri, { mode: 'pass-through' })
      const client = await host.connect('web')
      await client.write(0, pageOf(0, 1))
      await processes.stop(server)
      await startNbdkit(processes, socket, 'file', image)
      await client.read(0, PAGE)
      // A change of mode flushes first; nothing but this is between the write and it.
      const change = () => host.client.post('disk.set', { name: 'web', mode: 'write-through', dryRun: false }, WAIT)
      await expect(change()).rejects.toMatchObject({
        code: 'ORIGIN_FAILED',
        message: expect.stringContaining('reconnected'),
      })
      expect((await change()).result).toMatchObject({ changed: true, disk: { mode: { inForce: 'write-through' } } })
      await client.write(0, pageOf(0, 2))
      await client.flush()
      await client.close()
    },
  )
})

describeWith(['nbdkit'], 'D1: a disk in write-back whose origin hangs', () => {
  test(
    'answers writes, FUA writes and flushes, and has all of them after a kill of engine and supervisor',
    { timeout: 120_000 },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'export.img'), PAGES * PAGE)
      const socket = join(host.directory, 'export.sock')
      const { uri, process: server } = await startNbdkit(testProcesses(), socket, 'file', image)
      await host.attach('web', uri, { mode: 'write-back', exclusive: true })
      const client = await host.connect('web')
      server.kill('SIGSTOP')
      await client.write(0, pagesOf(0, PAGES, 1))
      await client.flush()
      for (let page = 0; page < PAGES; page += 3)
        await client.write(page * PAGE, pageOf(page, 2), { fua: page % 2 === 0 })
      await client.writeZeroes(7 * PAGE, PAGE)
      const content = (page: number) =>
        page === 7 ? Buffer.alloc(PAGE) : page % 3 === 0 ? pageOf(page, 2) : pageOf(page, 1)
      const pid = host.enginePid()
      await host.end('SIGKILL')
      process.kill(pid, 'SIGKILL')
      // Seen to fail with a recovery that drops what is above `settledLsn`.
      server.kill('SIGCONT')
      expect((await readFile(image)).equals(Buffer.alloc(PAGES * PAGE))).toBe(true)

      const next = await startHost({ directory: host.directory })
      const reader = await next.connect('web')
      for (const [page, bytes] of (await readPages(reader, PAGES)).entries())
        expect(bytes.equals(content(page)), `page ${page}`).toBe(true)
      await reader.close()
      await next.detach('web')
      const origin = await readFile(image)
      for (let page = 0; page < PAGES; page++)
        expect(origin.subarray(page * PAGE, (page + 1) * PAGE).equals(content(page)), `page ${page}`).toBe(true)
    },
  )
})

/** D10: of two engines that share an image's directory one writes it; who meets an image of another host is told what to do. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { describeWith } from '../../support/packages.js'
import { must } from '../../support/processes.js'
import { PAGE, makeImage, pageOf, readPages, startHost, temporaryDirectory, writePages } from './host.js'

const PAGES = 64

async function twoHosts() {
  const storage = await temporaryDirectory()
  const image = await makeImage(join(storage, 'web.img'), PAGES * PAGE)
  const [one, other] = [
    await startHost({ configuration: 'host-name: kvm01\n' }),
    await startHost({ configuration: 'host-name: kvm02\n' }),
  ]
  await one.createCache()
  await other.createCache()
  return { image, one, other }
}

describe('D10: an image that another host has', () => {
  test(
    'is refused, by the stamp beside it, which says in plain words who has it and what to do',
    {
      timeout: 120_000,
    },
    async () => {
      const { image, one, other } = await twoHosts()
      await one.attach('web', image)
      await expect(other.attach('mine', image)).rejects.toMatchObject({
        code: 'LEASE_HELD',
        message: expect.stringContaining('kvm01'),
        hint: expect.stringContaining('vmcache cache detach web'),
      })
      expect((await other.client.get('disk.list', {})).disks).toEqual([])
      const words = await readFile(`${image}.vmcache`, 'utf8')
      expect(words).toContain('kvm01')
      expect(words).toContain('vmcache cache detach web')
      expect(words).toContain('If that host is gone for good')

      await one.detach('web')
      expect(existsSync(`${image}.vmcache`)).toBe(false)
      expect(await other.attach('mine', image)).toMatchObject({ state: 'serving' })
    },
  )

  test('stays refused while that host is down, however it went', async () => {
    const { image, one, other } = await twoHosts()
    await one.attach('web', image)
    const pid = one.enginePid()
    await one.end('SIGKILL')
    process.kill(pid, 'SIGKILL')
    await expect(other.attach('mine', image)).rejects.toMatchObject({ code: 'LEASE_HELD' })
  })

  test(
    'is not written any more by the one that lost it: a stamp with a higher epoch stops it',
    {
      timeout: 120_000,
    },
    async () => {
      const { image, one, other } = await twoHosts()
      await one.attach('web', image)
      expect(await one.end()).toBe(0)
      // Somebody who was sure that kvm01 is gone for good did what the stamp says.
      await must('rm', [`${image}.vmcache`])
      await other.attach('mine', image)
      const back = await startHost({ directory: one.directory, configuration: 'host-name: kvm01\n' })
      expect(await back.disk('web')).toMatchObject({ state: 'failed', reason: expect.stringContaining('kvm02') })
      await expect(back.connect('web')).rejects.toThrow()
    },
  )
})

describeWith(['qemu-img'], 'D10: a QEMU that is started by hand', () => {
  test(
    'may use an image that lacks nothing, while its engine is off; what it wrote is what is read then',
    {
      timeout: 120_000,
    },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'web.img'), PAGES * PAGE)
      await host.attach('web', image)
      const client = await host.connect('web')
      await writePages(client, PAGES, 1)
      await client.close()
      expect(await readFile(`${image}.vmcache`, 'utf8')).toContain('lacks-writes: no')
      expect(await host.end()).toBe(0)
      await must('qemu-io', ['-f', 'raw', '-c', 'write -P 0xab 12k 4k', image])
      const next = await startHost({ directory: host.directory })
      const reader = await next.connect('web')
      const pages = await readPages(reader, PAGES)
      for (const [page, bytes] of pages.entries())
        expect(bytes.equals(page === 3 ? Buffer.alloc(PAGE, 0xab) : pageOf(page, 1)), `page ${page}`).toBe(true)
      await reader.close()
    },
  )
})

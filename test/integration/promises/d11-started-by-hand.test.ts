/**
 * D11: "Started by hand with `virsh start` and by plain QEMU, with and without an engine, with and without dirty data: cached, direct or refused,
 * never wrong." With a real libvirtd that has the hook, and a domain that has no guest: its disk is read and written through QEMU's monitor.
 */
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { imageLockListPath } from '../../../src/daemon/image-lock-list.js'
import { suspendedListPath } from '../../../src/daemon/suspended-list.js'
import { libvirtHook } from '../../../src/daemon/libvirt-hook.js'
import type { DiskDocument, VmDocument } from '../../../src/protocol/control/documents.js'
import { endSupervisor, killEngine, killSupervisor } from '../../support/background-engine.js'
import { commandLine, type CommandLine } from '../../support/command-line.js'
import { whyNoPrivateMounts } from '../../support/conditions.js'
import { startLibvirt, type Libvirt } from '../../support/libvirt.js'
import { describeWith } from '../../support/packages.js'
import { run, until } from '../../support/processes.js'
import { connectSimpleNbd } from '../../support/simple-nbd-client.js'
import { ROOT } from '../../support/vmcache.js'

const TIMEOUT = 180_000
const MIB = 2 ** 20
const PIECE = 64 * 1024
/** What the changes of an origin are told apart by is no finer than this after a power cut. */
const SEEN_MILLISECONDS = 6000

describeWith(
  ['libvirtd', 'virsh', 'qemu-system-x86_64', 'unshare'],
  'D11: started by hand',
  () => {
    let directory: string
    let cli: CommandLine
    let libvirt: Libvirt
    let image: string

    beforeEach(async () => {
      directory = await mkdtemp(join(tmpdir(), 'vmcache-d11-'))
      cli = commandLine(ROOT, directory, () => {})
      image = join(directory, 'web01.img')
      await writeFile(image, Buffer.alloc(PIECE, 1))
      await truncate(image, 16 * MIB)
      const state = join(directory, 'state')
      const hook = libvirtHook({ imageLocks: imageLockListPath(state), suspended: suspendedListPath(state) })
      libvirt = await startLibvirt(directory, { hook })
      await defineDomain()
      await cli.ask('cache', 'create', 'fast', '--device', `${join(directory, 'ssd.img')},size=256m`)
    }, TIMEOUT)
    afterEach(async () => {
      await libvirt.stop()
      await endSupervisor(directory)
      await rm(directory, { recursive: true, force: true })
    }, TIMEOUT)

    async function defineDomain(): Promise<void> {
      const file = join(directory, 'web01.xml')
      await writeFile(
        file,
        `<domain type='qemu'><name>web01</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><disk type='file' device='disk'>
<driver name='qemu' type='raw' cache='none' error_policy='stop' rerror_policy='stop'/>
<source file='${image}'/><target dev='vda' bus='virtio'/></disk></devices></domain>`,
      )
      await libvirt.virsh('define', file)
    }

    async function attachDomain(mode: string): Promise<void> {
      await cli.ask('vm', 'adopt', 'web01', '--connect', libvirt.uri)
      await cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', mode)
    }

    /** A disk of its own for the domain's image, with writes that only its cache has: 2 where the image has 1. */
    async function holdWrites(): Promise<void> {
      const attach = ['cache', 'attach', 'fast', image, '--name', 'web', '--mode', 'write-back', '--dirty-age', '1h']
      const { disk } = await cli.ask<{ disk: DiskDocument }>(...attach)
      const client = await connectSimpleNbd(disk.socket)
      await client.write(0, Buffer.alloc(PIECE, 2))
      await client.flush()
      await client.close()
    }

    const start = () => libvirt.virsh('start', 'web01')
    const path = async () => (await cli.ask<VmDocument>('vm', 'show', 'web01')).disks[0]!.path
    const isCached = () => until('the cache', async () => (await path()) === 'cached', 20_000)
    const isOff = () =>
      until('that the image is complete', async () => {
        return !(await cli.ask<DiskDocument>('disk', 'show', 'web01/vda')).lacksWrites
      })

    /** Writes what `pattern` says over the disk of the running domain, wherever its requests go. */
    async function write(pattern: number): Promise<void> {
      const disk = '/machine/peripheral/virtio-disk0/virtio-backend'
      const words = await libvirt.virsh(
        ...['qemu-monitor-command', 'web01', '--hmp', `qemu-io -d ${disk} "write -P ${pattern} 0 64k"`],
      )
      expect(words).not.toMatch(/fail|error/i)
    }

    /** The domain ran with a cache, wrote 3 and was destroyed. */
    async function ranCached(mode: string): Promise<void> {
      await attachDomain(mode)
      await start()
      await isCached()
      await write(3)
      await libvirt.virsh('destroy', 'web01')
      await isOff()
    }

    /** The pattern that the domain reads through its cache. */
    async function cachedPattern(): Promise<number> {
      const client = await connectSimpleNbd((await cli.ask<DiskDocument>('disk', 'show', 'web01/vda')).socket)
      const bytes = await client.read(0, PIECE)
      await client.close()
      return patternOf(bytes)
    }

    /** The pattern that whoever uses the image itself reads. */
    async function imagePattern(): Promise<number> {
      return patternOf((await readFile(image)).subarray(0, PIECE))
    }

    /** NaN where there are several. */
    const patternOf = (bytes: Buffer): number => (bytes.every((byte) => byte === bytes[0]) ? bytes[0]! : NaN)

    /** A QEMU that somebody starts on the image without anybody's knowledge, for one write of `pattern`. */
    async function plainQemu(pattern: number): Promise<{ code: number | null; words: string }> {
      const args = [
        '-nodefaults',
        '-display',
        'none',
        '-machine',
        'q35,accel=tcg',
        '-m',
        '64',
        '-S',
        '-monitor',
        'stdio',
      ]
      const disk = [
        '-drive',
        `file=${image},format=raw,if=none,id=disk,cache=none`,
        '-device',
        'virtio-blk-pci,drive=disk',
      ]
      const input = `qemu-io disk "write -P ${pattern} 0 64k"\nquit\n`
      const { code, stdout, stderr } = await run('qemu-system-x86_64', [...args, ...disk], { input })
      return { code, words: `${stdout}${stderr}` }
    }

    async function refusedByHook(): Promise<void> {
      const refused = start()
      await expect(refused).rejects.toThrow('web01 must not be started here')
      await expect(refused).rejects.toThrow(`${image} may lack writes`)
      await expect(refused).rejects.toThrow('vmcache cache detach web')
      expect(await libvirt.virsh('domstate', 'web01')).toBe('shut off')
    }

    describe('with virsh start', () => {
      test('and an engine, its image complete: cached', { timeout: TIMEOUT }, async () => {
        await ranCached('write-back')
        await start()
        await isCached()
        expect(await cachedPattern()).toBe(3)
      })

      test(
        'and no engine, its image complete: direct; cached when there is one, which reads what was written meanwhile',
        { timeout: TIMEOUT },
        async () => {
          await ranCached('write-back')
          await killSupervisor(directory)
          await start()
          expect(await libvirt.virsh('qemu-monitor-command', 'web01', '--hmp', 'info block')).not.toContain('nbd')
          await write(4)
          await cli.ask('engine', 'start')
          await isCached()
          expect(await cachedPattern()).toBe(4)
        },
      )

      test('while its image lacks writes: refused, with an engine and without one', { timeout: TIMEOUT }, async () => {
        await holdWrites()
        await refusedByHook()
        await killSupervisor(directory)
        await refusedByHook()
        await cli.ask('engine', 'start')
        await refusedByHook()
        await cli.ask('cache', 'detach', 'web')
        await start()
        expect(await imagePattern()).toBe(2)
      })
    })

    describe('while it is suspended', () => {
      test(
        'with virsh start: refused, with an engine and without one; it goes on when it is resumed',
        { timeout: TIMEOUT },
        async () => {
          await attachDomain('write-back')
          await start()
          await isCached()
          await write(3)
          await cli.ask('vm', 'suspend', 'web01')
          const refused = async () => {
            await expect(start()).rejects.toThrow("vmcache vm resume 'web01'")
            expect(await libvirt.virsh('domstate', 'web01')).toBe('shut off')
          }
          await refused()
          await killSupervisor(directory)
          await refused()
          await cli.ask('engine', 'start')
          await cli.ask('vm', 'resume', 'web01')
          expect(await libvirt.virsh('domstate', 'web01')).toBe('running')
          await isCached()
          expect(await cachedPattern()).toBe(3)
          await libvirt.virsh('destroy', 'web01')
          await isOff()
          await start()
        },
      )
    })

    describe('by plain QEMU', () => {
      test(
        'its image complete: direct; the next start through the cache reads what it wrote',
        { timeout: TIMEOUT },
        async () => {
          await ranCached('write-through')
          expect(await plainQemu(5)).toMatchObject({ code: 0 })
          await start()
          await isCached()
          expect(await cachedPattern()).toBe(5)
        },
      )

      test(
        'while its image lacks writes: refused by the image lock, with an engine and while one is started',
        { timeout: TIMEOUT },
        async () => {
          await holdWrites()
          const refused = { code: 1, words: expect.stringContaining('Failed to get "write" lock') }
          expect(await plainQemu(6)).toMatchObject(refused)
          const replaced = killEngine(directory)
          expect(await plainQemu(6)).toMatchObject(refused)
          await replaced
          expect(await plainQemu(6)).toMatchObject(refused)
          await cli.ask('cache', 'detach', 'web')
          await start()
          expect(await imagePattern()).toBe(2)
        },
      )

      test(
        'after a power cut, before there is a supervisor: nobody refuses it; the disk stops as changed, and nothing is written over it',
        { timeout: TIMEOUT },
        async () => {
          await holdWrites()
          await killSupervisor(directory)
          await new Promise((resolve) => setTimeout(resolve, SEEN_MILLISECONDS))
          expect(await plainQemu(7)).toMatchObject({ code: 0 })
          await cli.ask('engine', 'start')
          const changed = () => cli.ask<DiskDocument>('disk', 'show', 'web')
          await until('the disk', async () => (await changed()).state === 'changed', 20_000)
          expect(await changed()).toMatchObject({ lacksWrites: true, reason: expect.stringContaining(image) })
          await refusedByHook()
          await expect(cli.ask('cache', 'detach', 'web')).rejects.toThrow('cannot be written there now')
          // Neither now nor when the engine ends.
          await cli.ask('engine', 'restart')
          await until('the disk', async () => (await changed()).state === 'changed', 20_000)
          expect(await imagePattern()).toBe(7)
        },
      )
    })
  },
  whyNoPrivateMounts(),
)

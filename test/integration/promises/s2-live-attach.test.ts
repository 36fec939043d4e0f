/**
 * S2: the cache of a running VM comes and goes, and its guest sees no restart and no I/O error; D3: what the VM did past the cache is never
 * hidden by it; D8: a VM that is off has everything on its origin. With a real guest, over each driver, by the commands that people use.
 */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DiskDocument, EventDocument, VmDocument } from '../../../src/protocol/control/documents.js'
import { endSupervisor, killEngine, killSupervisor } from '../../support/background-engine.js'
import { commandLine, type CommandLine } from '../../support/command-line.js'
import { whyNoPrivateMounts } from '../../support/conditions.js'
import { openCommands, type GuestCommand, type GuestCommands } from '../../support/guest/guest-commands.js'
import { initramfs } from '../../support/guest/initramfs.js'
import { guestKernel, whyNoGuest } from '../../support/guest/kernel.js'
import { checkStamps, stampScript } from '../../support/guest/stamps.js'
import { defineDomain, startLibvirt, type Libvirt } from '../../support/libvirt.js'
import { describeWith, pathOf, type Program } from '../../support/packages.js'
import { must, until } from '../../support/processes.js'
import { ROOT } from '../../support/vmcache.js'

const MIB = 2 ** 20
const TIMEOUT = 300_000
const STAMPED = { first: 256, blocks: 101 }
const KILLS = Number(process.env['VMCACHE_TEST_KILLS'] ?? 2)
const APPEND = 'console=ttyS0 quiet panic=-1'

/** A host with a cache `fast` and a VM `web01` that has one disk. */
interface World {
  readonly directory: string
  readonly cli: CommandLine
  readonly image: string
  /** Starts the VM without vmcache's knowledge; null where the driver has no such way. */
  readonly startByHand: (() => Promise<unknown>) | null
  readonly stop: () => Promise<void>
}

async function startWorld(driver: 'qemu' | 'libvirt'): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-s2-'))
  const cli = commandLine(ROOT, directory, () => {})
  const path = (name: string): string => join(directory, name)
  let libvirt: Libvirt | null = null
  const stop = async (): Promise<void> => {
    await cli.ask('vm', 'stop', '--all', '--force').catch(() => {})
    await libvirt?.stop()
    await endSupervisor(directory)
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const image = path('web01.img')
    await writeFile(image, '')
    await truncate(image, 16 * MIB)
    const kernel = await guestKernel()
    await writeFile(path('initramfs'), await initramfs(kernel, []))
    await cli.ask('cache', 'create', 'fast', '--device', `${path('ssd.img')},size=256m`)
    const boot = { kernel: kernel.image, initrd: path('initramfs'), append: APPEND }
    let startByHand: World['startByHand'] = null
    if (driver === 'qemu') {
      const flags = ['--kernel', boot.kernel, '--initrd', boot.initrd, '--append', boot.append, '--accel', 'tcg']
      const port = `socket,id=commands,path=${path('commands')},server=on,wait=off`
      const further = ['-chardev', port, '-device', 'virtio-serial-pci']
      const device = ['-device', 'virtserialport,chardev=commands,name=commands,nr=1']
      await cli.ask(
        ...['vm', 'define', 'web01', '--memory', '256m', '--disk', image, ...flags, '--'],
        ...[...further, ...device],
      )
    } else {
      libvirt = await startLibvirt(directory)
      const disks = [{ target: 'vda', path: image, format: 'raw' }]
      await defineDomain(libvirt, directory, 'web01', { ...boot, commands: path('commands'), disks })
      await cli.ask('vm', 'adopt', 'web01', '--connect', libvirt.uri)
      startByHand = () => libvirt!.virsh('start', 'web01')
    }
    return { directory, cli, image, startByHand, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

function promises(driver: 'qemu' | 'libvirt', needed: readonly Program[], why: string | null): void {
  describeWith(
    needed,
    `S2: a VM of ${driver}`,
    () => {
      let world: World
      let guest: GuestCommands | null = null

      beforeEach(async () => {
        world = await startWorld(driver)
      }, TIMEOUT)
      afterEach(async () => {
        guest?.close()
        guest = null
        await world.stop()
      }, TIMEOUT)

      async function connect(): Promise<GuestCommands> {
        guest?.close()
        guest = await openCommands(join(world.directory, 'commands'))
        await guest.booted
        return guest
      }

      async function succeed(script: string): Promise<string> {
        const { code, output } = await guest!.start(script).ended
        if (code !== 0) throw new Error(`in the guest: ${script}\n${output}`)
        return output
      }

      const vm = () => world.cli.ask<VmDocument>('vm', 'show', 'web01')
      const path = async () => (await vm()).disks[0]!.path
      const disk = () => world.cli.ask<DiskDocument>('disk', 'show', 'web01/vda')

      /** Longest silence of a load, in milliseconds, over the calls of `during`. */
      function pauses(load: GuestCommand): { most: number; stop(): void } {
        const seen = { most: 0, stop: () => clearInterval(timer) }
        let lines = load.lines().length
        let at = performance.now()
        const timer = setInterval(() => {
          if (load.lines().length === lines) return
          seen.most = Math.max(seen.most, performance.now() - at)
          lines = load.lines().length
          at = performance.now()
        }, 1)
        return seen
      }

      async function more(load: GuestCommand, count = 4): Promise<void> {
        const before = load.lines().length
        let ended = false
        void load.ended.then(() => (ended = true))
        await until('more stamps', () => ended || load.lines().length > before + count, 120_000)
        if (ended) throw new Error(load.lines().slice(-5).join('\n'))
      }

      async function expectAllStamps(load: GuestCommand): Promise<void> {
        const newest = Number(/\d+$/.exec(load.lines().at(-1)!)![0])
        expect(await checkStamps(world.image, STAMPED)).toEqual({ newest, wrong: [] })
        process.stderr.write(`${driver}: ${newest} stamps\n`)
      }

      test.each(['write-through', 'write-back'])(
        `gets a cache in %s, keeps it over ${KILLS} kills of the engine, and loses it; every stamp is right`,
        { timeout: TIMEOUT },
        async (mode) => {
          const { cli, directory } = world
          await cli.ask('vm', 'start', 'web01')
          const commands = await connect()
          const load = commands.start(stampScript('/dev/vda', STAMPED))
          await more(load)
          expect(await path()).toBe('direct')
          const before = pauses(load)
          await more(load, 20)
          before.stop()
          const gaps = pauses(load)
          await cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', mode)
          await more(load)
          gaps.stop()
          expect(await path()).toBe('cached')
          expect((await disk()).mode).toEqual({ wanted: mode, inForce: mode, reason: null })
          for (let kill = 0; kill < KILLS; kill++) {
            await killEngine(directory)
            await more(load)
          }
          expect(await path()).toBe('cached')
          await until('the mode', async () => (await disk()).mode.inForce === mode)
          const leaving = pauses(load)
          await cli.ask('cache', 'detach', '--vm', 'web01')
          await more(load)
          leaving.stop()
          expect(await path()).toBe('direct')
          await succeed('touch /tmp/stop')
          expect(await load.ended).toMatchObject({ code: 0 })
          expect(await succeed('dmesg | grep -iE "i/o error|reset" || true')).toBe('')
          await cli.ask('vm', 'stop', 'web01', '--force')
          await expectAllStamps(load)
          process.stderr.write(
            `${driver}, ${mode}: longest silence ${before.most.toFixed()} ms before, ${gaps.most.toFixed()} ms while attached, ${leaving.most.toFixed()} ms while detached\n`,
          )
        },
      )

      test(
        'D3 D8: boots through its cache, is whole on its origin when it is off, and sees what was done to that since',
        { timeout: TIMEOUT },
        async () => {
          const { cli, image } = world
          await cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await cli.ask('vm', 'start', 'web01')
          expect(await path()).toBe('cached')
          const commands = await connect()
          const load = commands.start(stampScript('/dev/vda', STAMPED))
          await succeed('dd if=/dev/urandom of=/dev/vda bs=64k seek=128 count=1 oflag=direct conv=fsync status=none')
          await more(load, 20)
          await succeed('touch /tmp/stop')
          expect(await load.ended).toMatchObject({ code: 0 })
          await cli.ask('vm', 'stop', 'web01', '--force')
          expect(await disk()).toMatchObject({ dirtyBytes: 0, lacksWrites: false, mode: { inForce: 'write-through' } })
          await expectAllStamps(load)

          await must(pathOf('qemu-io'), ['-f', 'raw', '-c', 'write -q -P 0x5a 8m 64k', image])
          await cli.ask('vm', 'start', 'web01')
          await connect()
          expect(await path()).toBe('cached')
          const bytes = 'dd if=/dev/vda bs=64k skip=128 count=1 iflag=direct status=none | tr -d Z | wc -c'
          expect(await succeed(bytes)).toBe('0')
        },
      )

      test(
        'is stopped while no engine runs for longer than QEMU waits, and goes on when one does; nothing is lost',
        { timeout: TIMEOUT },
        async () => {
          const { cli, directory } = world
          await cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await cli.ask('vm', 'start', 'web01')
          const commands = await connect()
          const load = commands.start(stampScript('/dev/vda', STAMPED))
          await more(load, 20)
          await killSupervisor(directory)
          const lines = load.lines().length
          await new Promise((resolve) => setTimeout(resolve, 8000))
          expect(load.lines().length).toBeLessThan(lines + 3)
          await cli.ask('engine', 'start')
          await more(load)
          expect(await path()).toBe('cached')
          await succeed('touch /tmp/stop')
          expect(await load.ended).toMatchObject({ code: 0 })
          expect(await succeed('dmesg | grep -iE "i/o error|reset" || true')).toBe('')
          const { events } = await cli.ask<{ events: EventDocument[] }>('event', 'list')
          expect(events.map(({ what }) => what)).toContain('vm.reconnect')
          await cli.ask('vm', 'stop', 'web01', '--force')
          await expectAllStamps(load)
        },
      )

      test('a VM that is started by hand goes through its cache', { timeout: TIMEOUT }, async (context) => {
        const { cli, startByHand } = world
        if (startByHand === null) return context.skip('only vmcache starts its VMs')
        await cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
        // The loop listens when it has seen that there is something to listen for.
        await new Promise((resolve) => setTimeout(resolve, 3000))
        const started = performance.now()
        await startByHand()
        const ready = performance.now()
        await until('the cache', async () => (await disk()).mode.inForce === 'write-back', 10_000)
        process.stderr.write(
          `${driver}: started by hand in ${(ready - started).toFixed()} ms, cached after ${(performance.now() - ready).toFixed()} ms more\n`,
        )
        expect(await path()).toBe('cached')
        await connect()
        const load = guest!.start(stampScript('/dev/vda', STAMPED))
        await more(load)
        await succeed('touch /tmp/stop')
        await cli.ask('vm', 'stop', 'web01', '--force')
        await expectAllStamps(load)
      })
    },
    why,
  )
}

describe('live', async () => {
  const noGuest = await whyNoGuest()
  const common = ['qemu-system-x86_64', 'qemu-io', 'busybox'] as const
  promises('qemu', common, noGuest)
  promises('libvirt', [...common, 'libvirtd', 'virsh', 'unshare'], whyNoPrivateMounts() ?? noGuest)
})

/**
 * What every driver of VMs does, with a real guest. A driver proves itself with a {@link DriverWorld}: how a VM with a test guest is made
 * known to it.
 */
import { once } from 'node:events'
import { access, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import type { MemoryWatch, VmDriver, VmIdentity, VmMonitor } from '../../src/hypervisor/driver.js'
import {
  completeExchange,
  insertDisk,
  removeDisk,
  renewDisk,
  type NbdServer,
} from '../../src/hypervisor/exchange-disk.js'
import { openConsoles } from '../../src/hypervisor/open-consoles.js'
import { isSaved, longestStream, qemuIdentity, whyNotSaved } from '../../src/hypervisor/memory-stream.js'
import { observeVm, type ObservedDisk } from '../../src/hypervisor/observe-vm.js'
import { openCommands, type GuestCommands } from '../support/guest/guest-commands.js'
import { initramfs } from '../support/guest/initramfs.js'
import { guestKernel } from '../support/guest/kernel.js'
import { checkStamps, stampScript } from '../support/guest/stamps.js'
import { pathOf } from '../support/packages.js'
import { must, Processes, until } from '../support/processes.js'

const MIB = 2 ** 20
const TIMEOUT = 180_000

/** A VM with the test guest. */
export interface GuestVm {
  readonly kernel: string
  readonly initrd: string
  readonly append: string
  /** The guest's port `commands` is to be found at this path. */
  readonly commands: string
  readonly disks: readonly GuestVmDisk[]
}

export interface GuestVmDisk {
  readonly target: string
  readonly path: string
  readonly format: 'raw' | 'qcow2'
}

export interface DriverWorld {
  readonly driver: VmDriver
  /** URI of the connection that the driver is told; null for its own. */
  readonly connect: string | null
  /** Makes the VM known, off. */
  define(vm: GuestVm): Promise<VmIdentity>
  /** Whether its QEMU puts disks behind a server only while their guest stands still. */
  readonly standsStill?: boolean
  stop(): Promise<void>
}

export function vmDriverContract(startWorld: (directory: string, onChange: () => void) => Promise<DriverWorld>): void {
  const processes = new Processes()
  const stamped = { first: 0, blocks: 101 }
  let directory: string
  let world: DriverWorld
  let vm: VmIdentity | null = null
  let guest: GuestCommands | null = null
  let changes = 0

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vmcache-vm-'))
    changes = 0
    world = await startWorld(directory, () => changes++)
  })
  afterEach(async () => {
    guest?.close()
    guest = null
    if (vm !== null) await world.driver.destroy(vm).catch(() => {})
    vm = null
    await world.driver.close()
    await world.stop()
    await processes.stopAll()
    await rm(directory, { recursive: true, force: true })
  })

  const path = (name: string): string => join(directory, name)

  async function image(name: string, bytes = 16 * MIB): Promise<string> {
    await writeFile(path(name), '')
    await truncate(path(name), bytes)
    return path(name)
  }

  async function define(...disks: GuestVmDisk[]): Promise<VmIdentity> {
    const kernel = await guestKernel()
    await writeFile(path('initramfs'), await initramfs(kernel, []))
    vm = await world.define({
      kernel: kernel.image,
      initrd: path('initramfs'),
      append: 'console=ttyS0 quiet panic=-1',
      commands: path('commands'),
      disks,
    })
    return vm
  }

  async function boot(): Promise<GuestCommands> {
    await world.driver.startPaused(vm!)
    return goOn()
  }

  async function goOn(): Promise<GuestCommands> {
    await world.driver.resume(vm!)
    guest = await openCommands(path('commands'))
    await guest.booted
    return guest
  }

  /** Puts disk vda behind a server, in the way that its QEMU allows; returns whether its guest had to stand still for that. */
  async function insert(server: NbdServer): Promise<boolean> {
    const qmp = await monitor()
    try {
      await insertDisk(qmp, await disk(), server)
      return false
    } catch (error) {
      if (world.standsStill !== true) throw error
      expect(error).toMatchObject({ code: 'REFUSED' })
    }
    await qmp.execute('stop')
    await insertDisk(qmp, await disk(), server)
    await qmp.execute('cont')
    return true
  }

  /** Serves an image by NBD; its process. */
  async function serve(file: string, socket = path('nbd')) {
    await rm(socket, { force: true })
    const server = processes.start(pathOf('nbdkit'), ['-f', '-U', socket, 'file', file])
    const isThere = () => access(socket).then(Boolean.bind(null, true), () => false)
    await until('the socket of nbdkit', isThere)
    return { process: server, socket, sizeBytes: 16 * MIB }
  }

  async function disk(target = 'vda'): Promise<ObservedDisk> {
    const { disks } = await observeVm(world.driver, vm!)
    return disks.find((other) => other.target === target)!
  }

  async function monitor(): Promise<VmMonitor> {
    return (await world.driver.monitor(vm!))!
  }

  /** Does `work` over a monitor that fails after so many commands that change something, for ever; whether it came so far. */
  async function cutAfter(steps: number, work: (cut: VmMonitor) => Promise<void>): Promise<boolean> {
    const { execute } = await monitor()
    let done = 0
    const cut: VmMonitor = {
      yank: null,
      execute(command, ...rest) {
        const isQuestion = /^(query|qom-get|x-debug)/.test(command)
        if (!isQuestion && done++ >= steps) return Promise.reject(new Error('killed'))
        return execute(command, ...rest)
      },
    }
    await work(cut).catch(() => {})
    return done > steps
  }

  const state = async () => (await observeVm(world.driver, vm!)).state

  describe('a VM', () => {
    test('is unknown, or off, running and off again, and every change is told', { timeout: TIMEOUT }, async () => {
      await expect(world.driver.find('nobody', world.connect)).rejects.toMatchObject({ code: 'VM_NOT_FOUND' })
      const { driver } = world
      const web = await define({ target: 'vda', path: await image('a'), format: 'raw' })
      expect(await observeVm(driver, web)).toEqual({ state: 'off', disks: [] })
      expect(await driver.declared(web)).toMatchObject({
        name: web.name,
        memoryBytes: 256 * MIB,
        disks: [{ target: 'vda', path: path('a'), whyDirect: null }],
      })
      driver.watch([web])
      await driver.startPaused(web)
      expect(await observeVm(driver, web)).toMatchObject({
        state: 'paused',
        disks: [{ target: 'vda', sizeBytes: 16 * MIB, stopsOnError: true, path: { kind: 'direct' }, whyDirect: null }],
      })
      await expect(driver.startPaused(web)).rejects.toMatchObject({ code: 'WRONG_STATE' })
      await until('word of the start', () => changes > 0, 10_000)
      await driver.resume(web)
      expect(await state()).toBe('running')
      const before = changes
      await driver.destroy(web)
      expect(await state()).toBe('off')
      await until('word of the end', () => changes > before, 10_000)
      await driver.destroy(web)
    })

    test('boots through a server that was inserted before its first instruction', { timeout: TIMEOUT }, async () => {
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      const server = await serve(path('a'))
      await world.driver.startPaused(vm!)
      await insert(server)
      expect((await disk()).path).toEqual({ kind: 'cached', node: 'vmcache-vda-1', socket: server.socket })
      const commands = await goOn()
      expect(await commands.start('dd if=/dev/urandom of=/dev/vda bs=4096 count=8 conv=fsync').ended).toMatchObject({
        code: 0,
      })
      await processes.stop(server.process)
      await until('that its requests go through the server', async () => {
        void commands.start('dd if=/dev/vda of=/dev/null iflag=direct bs=4096 count=1')
        return (await state()) === 'io-error'
      })
    })

    test('says what it has done since it was started, while it runs', { timeout: TIMEOUT }, async () => {
      const web = await define({ target: 'vda', path: await image('a'), format: 'raw' })
      const load = async () => (await world.driver.loads([web])).get(web.uuid) ?? null
      expect(await load()).toBeNull()
      await world.driver.startPaused(web)
      expect(await load()).toBeNull()
      const commands = await goOn()
      const before = (await load())!
      await commands.start('dd if=/dev/vda of=/dev/null iflag=direct bs=4096 count=200').ended
      const after = (await load())!
      expect(after.diskRequests - before.diskRequests).toBeGreaterThanOrEqual(200)
      expect(after.cpuSeconds).toBeGreaterThan(before.cpuSeconds)
      // A control group of the same name may have been used before: what it has counted goes on.
      expect(after.cpuSeconds - before.cpuSeconds).toBeLessThan(120)
      expect(await openConsoles(await monitor())).toEqual([])
    })

    test('gets and loses a server while it writes, and notices nothing', { timeout: TIMEOUT }, async () => {
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      const commands = await boot()
      const server = await serve(path('a'))
      const load = commands.start(stampScript('/dev/vda', stamped))
      const more = async () => {
        const seen = load.lines().length
        await until('more stamps', () => load.lines().length > seen + 3)
      }
      await more()
      for (let round = 0; round < 3; round++) {
        // Once it has its layer there is nothing to be refused.
        expect(await insert(server)).toBe(world.standsStill === true && round === 0)
        await more()
        await removeDisk(await monitor(), await disk())
        expect((await disk()).path).toEqual({ kind: 'direct' })
        await more()
      }
      await processes.stop(server.process)
      await more()
      await commands.start('touch /tmp/stop').ended
      expect(await load.ended).toMatchObject({ code: 0 })
      const talk = await commands.start('dmesg | grep -i "i/o error" || true').ended
      expect(talk.output).toBe('')
      await world.driver.destroy(vm!)
      const newest = Number(load.lines().at(-1)!.split(' ')[1])
      expect(await checkStamps(path('a'), stamped)).toEqual({ newest, wrong: [] })
    })

    test(
      'is exchanged to the end by whoever comes after one that was killed, at any step',
      { timeout: TIMEOUT },
      async () => {
        await define({ target: 'vda', path: await image('a'), format: 'raw' })
        const server = await serve(path('a'))
        for (let steps = 0, isCut = true; isCut; steps++) {
          await world.driver.startPaused(vm!)
          const { name } = (await disk()).layers!
          const whole = { layers: { name, format: { name } }, whyDirect: null }
          isCut = await cutAfter(steps, async (cut) => insertDisk(cut, await disk(), server))
          if ((await disk()).path.kind === 'direct') await insertDisk(await monitor(), await disk(), server)
          await completeExchange(await monitor(), await disk())
          expect(await disk()).toMatchObject({ ...whole, path: { kind: 'cached' } })
          isCut = (await cutAfter(steps, async (cut) => renewDisk(cut, await disk(), server))) || isCut
          await renewDisk(await monitor(), await disk(), server)
          expect(await disk()).toMatchObject({ ...whole, path: { kind: 'cached' } })
          isCut = (await cutAfter(steps, async (cut) => removeDisk(cut, await disk()))) || isCut
          await removeDisk(await monitor(), await disk())
          expect(await disk()).toMatchObject({ ...whole, path: { kind: 'direct' } })
          await insert(server)
          expect(await disk()).toMatchObject({ ...whole, path: { kind: 'cached' }, leftovers: [] })
          await world.driver.destroy(vm!)
        }
      },
    )

    test(
      'whose server went away for long is stopped, and goes on over a new connection with nothing lost',
      { timeout: TIMEOUT },
      async () => {
        await define({ target: 'vda', path: await image('a'), format: 'raw' })
        const commands = await boot()
        let server = await serve(path('a'))
        await insert(server)
        const load = commands.start(stampScript('/dev/vda', stamped))
        await load.waitForLine(/stamp 5/)
        for (let round = 0; round < 2; round++) {
          await processes.stop(server.process)
          await until('that the VM is stopped', async () => (await state()) === 'io-error')
          server = await serve(path('a'))
          await renewDisk(await monitor(), await disk(), server)
          await world.driver.resume(vm!)
          const seen = load.lines().length
          await until('more stamps', () => load.lines().length > seen + 3)
        }
        expect(await disk()).toMatchObject({ path: { node: 'vmcache-vda-3' }, whyDirect: null })
        await removeDisk(await monitor(), await disk())
        await commands.start('touch /tmp/stop').ended
        expect(await load.ended).toMatchObject({ code: 0 })
        await world.driver.destroy(vm!)
        const newest = Number(load.lines().at(-1)!.split(' ')[1])
        expect(await checkStamps(path('a'), stamped)).toEqual({ newest, wrong: [] })
      },
    )

    test('refuses a server that is not there, and one of another size, and goes on', { timeout: TIMEOUT }, async () => {
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      await world.driver.startPaused(vm!)
      await world.driver.resume(vm!)
      const nowhere = { socket: path('nowhere'), sizeBytes: 16 * MIB }
      await expect(insertDisk(await monitor(), await disk(), nowhere)).rejects.toMatchObject({ code: 'HYPERVISOR' })
      const server = await serve(await image('b', 8 * MIB))
      const wrong = insertDisk(await monitor(), await disk(), server)
      await expect(wrong).rejects.toMatchObject({ code: 'ORIGIN_SIZE' })
      const announced = insertDisk(await monitor(), await disk(), { ...server, sizeBytes: 8 * MIB })
      await expect(announced).rejects.toMatchObject({ code: 'ORIGIN_SIZE' })
      expect(await observeVm(world.driver, vm!)).toMatchObject({
        state: 'running',
        disks: [{ path: { kind: 'direct' } }],
      })
      const right = await serve(path('a'), path('right'))
      await insert(right)
    })

    test('says which of its disks stay direct, and why', { timeout: TIMEOUT }, async () => {
      await image('base')
      const qcow2 = async (name: string, ...backing: string[]) => {
        await must(pathOf('qemu-img'), ['create', '-q', '-f', 'qcow2', ...backing, path(name), '16M'])
        return path(name)
      }
      await define(
        { target: 'vda', path: await image('a'), format: 'raw' },
        { target: 'vdb', path: await qcow2('b', '-b', path('base'), '-F', 'raw'), format: 'qcow2' },
        { target: 'vdc', path: await qcow2('c'), format: 'qcow2' },
      )
      await world.driver.startPaused(vm!)
      const { disks } = await observeVm(world.driver, vm!)
      expect(disks.map(({ target, whyDirect }) => [target, whyDirect]).sort()).toEqual([
        ['vda', null],
        ['vdb', 'qcow2 with a backing chain'],
        ['vdc', 'qcow2 image'],
      ])
      await expect(
        insertDisk(await monitor(), await disk('vdb'), { socket: path('nbd'), sizeBytes: 16 * MIB }),
      ).rejects.toMatchObject({ code: 'REFUSED', message: expect.stringContaining('backing chain') })
    })

    test('of which a snapshot was taken uses its server still, below the overlay', { timeout: TIMEOUT }, async () => {
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      await world.driver.startPaused(vm!)
      const server = await serve(path('a'))
      await insert(server)
      const before = await disk()
      const { execute } = await monitor()
      await execute('blockdev-snapshot-sync', {
        ...{ 'node-name': before.layers!.format.name, 'snapshot-node-name': 'overlay' },
        ...{ 'snapshot-file': path('overlay'), format: 'qcow2' },
      })
      expect(await disk()).toMatchObject({ path: before.path, layers: null, whyDirect: 'qcow2 with a backing chain' })
      await expect(removeDisk(await monitor(), await disk())).rejects.toMatchObject({ code: 'REFUSED' })
    })

    test('goes on where it was from its saved memory, also where it was not needed', { timeout: TIMEOUT }, async () => {
      const { driver } = world
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      let commands = await boot()
      const before = commands.start(stampScript('/dev/vda', stamped))
      await before.waitForLine(/stamp 5/)
      const identity = await qemuIdentity(await monitor())
      expect(identity).toEqual({
        version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
        machine: expect.stringMatching(/^pc-(q35|i440fx)-/),
      })
      const { execute } = await monitor()
      expect(await whyNotSaved(await monitor())).toBeNull()
      await driver.resume(vm!)
      const definition = await driver.lastingDefinition(vm!)
      const directory = await driver.memoryDirectory(vm!)
      const [nobody, rude, deaf, sink] = ['nobody', 'rude', 'deaf', 'sink'].map((name) => join(directory, name))
      // Nobody listens, then somebody hangs up, then somebody hangs: it can go on in any case.
      await execute('stop')
      await expect(driver.save(vm!, nobody!, moving())).rejects.toThrow()
      const hangsUp = await taking((socket) => socket.once('data', () => socket.destroy()), rude!)
      await expect(driver.save(vm!, rude!, moving())).rejects.toMatchObject({ code: 'HYPERVISOR' })
      hangsUp.close()
      const hangs = await taking((socket) => socket.pause(), deaf!)
      const cancelled = driver.save(vm!, deaf!, moving(AbortSignal.timeout(200)))
      await expect(cancelled).rejects.toMatchObject({ code: 'INTERRUPTED' })
      hangs.close()
      expect(await isSaved(await monitor())).toBe(false)
      await driver.resume(vm!)
      const seen = before.lines().length
      await until('more stamps', () => before.lines().length > seen + 3)

      await execute('stop')
      const saved: Buffer[] = []
      const takes = await taking((socket) => socket.on('data', (bytes: Buffer) => saved.push(bytes)), sink!)
      await driver.save(vm!, sink!, moving())
      expect(await isSaved(await monitor())).toBe(true)
      const bytes = saved.reduce((sum, part) => sum + part.length, 0)
      expect(bytes).toBeGreaterThan(16 * MIB)
      expect(bytes).toBeLessThan(longestStream(256 * MIB))
      takes.close()
      await driver.destroy(vm!)
      commands.close()

      const socket = path('source')
      const source = await pouring(Buffer.concat(saved), socket)
      let prepared: unknown = null
      const prepare = async (way: VmMonitor) => void (prepared = await qemuIdentity(way))
      await driver.restore(vm!, { socket, definition, prepare }, moving())
      source.close()
      expect(prepared).toEqual(identity)
      expect(await state()).toBe('paused')
      await driver.resume(vm!)
      commands = guest = await openCommands(path('commands'), { firstId: 100 })
      const last = Number(before.lines().at(-1)!.split(' ')[1])
      const { output } = await commands.start('ls /tmp/stamp.* | wc -l').ended
      expect(Number(output)).toBeGreaterThanOrEqual(Math.min(last, stamped.blocks))
      await commands.start('touch /tmp/stop; sleep 1').ended
      await driver.destroy(vm!)
      const { newest, wrong } = await checkStamps(path('a'), stamped)
      expect(wrong).toEqual([])
      expect(newest).toBeGreaterThan(last)
    })

    test('whose memory does not come back as it was is off', { timeout: TIMEOUT }, async () => {
      const { driver } = world
      const web = await define({ target: 'vda', path: await image('a'), format: 'raw' })
      await driver.startPaused(web)
      const definition = await driver.lastingDefinition(web)
      const directory = await driver.memoryDirectory(web)
      const saved: Buffer[] = []
      const sink = await taking(
        (socket) => socket.on('data', (bytes: Buffer) => saved.push(bytes)),
        join(directory, 's'),
      )
      await driver.save(web, join(directory, 's'), moving())
      sink.close()
      await driver.destroy(web)
      const stream = Buffer.concat(saved)
      const socket = path('source')
      const restore = async (server: Promise<Server>, watch = moving(), prepare = async () => {}): Promise<void> => {
        const source = await server
        await driver.restore(web, { socket, definition, prepare }, watch).finally(() => source.close())
      }
      const off = async () => expect(await state()).toBe('off')
      // Something else; nothing more after a while, until somebody gives it up; nothing at all.
      await expect(restore(pouring(Buffer.alloc(300_000), socket))).rejects.toMatchObject({ code: 'HYPERVISOR' })
      await off()
      const half = taking((connection) => connection.write(stream.subarray(0, stream.length / 2)), socket)
      await expect(restore(half, moving(AbortSignal.timeout(3000)))).rejects.toMatchObject({ code: 'INTERRUPTED' })
      await off()
      await rm(socket, { force: true })
      await expect(
        restore(
          taking(() => {}, path('other')),
          moving(AbortSignal.timeout(3000)),
        ),
      ).rejects.toThrow()
      await off()
      const refused = restore(pouring(stream, socket), moving(), () => Promise.reject(new Error('no')))
      await expect(refused).rejects.toThrow('no')
      await off()
      // Somebody else has started it meanwhile: it is left alone.
      await driver.startPaused(web)
      await driver.resume(web)
      await expect(restore(pouring(stream, socket))).rejects.toMatchObject({ code: 'WRONG_STATE' })
      expect(await state()).toBe('running')
    })

    test('whose server hangs is freed out of band, where the driver can', { timeout: TIMEOUT }, async (context) => {
      if (!world.driver.capabilities.outOfBand) context.skip('the driver has no second monitor')
      await define({ target: 'vda', path: await image('a'), format: 'raw' })
      const commands = await boot()
      const server = await serve(path('a'))
      await insert(server)
      server.process.kill('SIGSTOP')
      const read = commands.start('dd if=/dev/vda of=/dev/null iflag=direct bs=4096 count=1')
      await new Promise((resolve) => setTimeout(resolve, 300))
      const { execute, yank } = await monitor()
      const stopping = execute('stop', {}, { timeoutMilliseconds: 20_000 })
      await expect(Promise.race([stopping, later(500)])).resolves.toBe('later')
      await yank!('vmcache-vda-1')
      await stopping
      await processes.stop(server.process)
      await renewDisk(await monitor(), await disk(), await serve(path('a')))
      await world.driver.resume(vm!)
      expect(await read.ended).toMatchObject({ code: 0 })
    })
  })
}

/** Listens at `path`, takes connections, and does not mind how they end. */
async function taking(take: (socket: Socket) => unknown, path: string): Promise<Server> {
  await rm(path, { force: true })
  const server = createServer((socket) => void take(socket.on('error', () => {}))).listen(path)
  await once(server, 'listening')
  return server
}

/** Sends the bytes to whoever connects, and does not mind if they are not taken. */
function pouring(bytes: Buffer, path: string): Promise<Server> {
  return taking((socket) => socket.end(bytes), path)
}

function moving(signal = new AbortController().signal): MemoryWatch {
  return { clock: systemClock, signal, progress: () => {} }
}

async function later(milliseconds: number): Promise<'later'> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  return 'later'
}

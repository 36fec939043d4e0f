/**
 * S7: a resumed VM continues where it was suspended, with the same disk; a checkpoint is never resumed twice, nor against a disk that has
 * changed since. With a real guest, by the commands that people use.
 */
import { open, readdir, readFile, rename } from 'node:fs/promises'
import { createConnection, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SeededRandom } from '../../../src/base/random.js'
import type { DriverName } from '../../../src/model/vm.js'
import type {
  CacheDocument,
  CheckpointDocument,
  DiskDocument,
  EventDocument,
  TargetResult,
  VmDocument,
} from '../../../src/protocol/control/documents.js'
import { killEngine, killSupervisor } from '../../support/background-engine.js'
import { whyNoPrivateMounts } from '../../support/conditions.js'
import type { GuestCommand } from '../../support/guest/guest-commands.js'
import { whyNoGuest } from '../../support/guest/kernel.js'
import { checkStamps, stampScript } from '../../support/guest/stamps.js'
import { startVmHost, type VmHost } from '../../support/guest/vm-host.js'
import { describeWith, pathOf, type Program } from '../../support/packages.js'
import { must, run, until } from '../../support/processes.js'
import { ROOT } from '../../support/vmcache.js'

const MIB = 2 ** 20
const TIMEOUT = 300_000
const STAMPED = { first: 256, blocks: 101 }
const KILLS = Number(process.env['VMCACHE_TEST_KILLS'] ?? 2)
const SEED = Number(process.env['VMCACHE_TEST_SEED'] ?? 4711)
const noGuest = await whyNoGuest()

/** As much of QEMU's guest agent as sets a clock. */
const AGENT = `
exec 4<>$(ls /dev/vport*p2)
while :; do
  while IFS= read -r line <&4; do
    seconds=$(echo "$line" | sed -n 's/.*"time":\\([0-9]*\\)[0-9]\\{9\\}}.*/\\1/p')
    id=$(echo "$line" | sed -n 's/.*"id":\\([0-9]*\\).*/\\1/p')
    if [ -n "$seconds" ]; then date -s "@$seconds" >/dev/null; echo '{"return": {}}' >&4
    elif [ -n "$id" ]; then printf '\\377{"return": %s}\\n' "$id" >&4; fi
  done
  usleep 100000
done
`

type Results = { changed: boolean; results: TargetResult[] }

const COMMON = ['qemu-system-x86_64', 'qemu-io', 'busybox'] as const

describe.each<[DriverName, readonly Program[], string | null]>([
  ['qemu', COMMON, noGuest],
  ['libvirt', [...COMMON, 'libvirtd', 'virsh', 'unshare'], whyNoPrivateMounts() ?? noGuest],
])('by %s', (driver, needed, why) =>
  describeWith(
    needed,
    'S7: a VM',
    () => {
      let host: VmHost

      beforeEach(async () => {
        host = await startVmHost(768 * MIB, driver)
      }, TIMEOUT)
      afterEach(() => host.stop(), TIMEOUT)

      const vm = (name = 'web01') => host.cli.ask<VmDocument>('vm', 'show', name)
      const disk = () => host.cli.ask<DiskDocument>('disk', 'show', 'web01/vda')
      const suspend = (...args: string[]) => host.cli.ask<Results>('vm', 'suspend', ...args)
      const resume = (...args: string[]) => host.cli.ask<Results>('vm', 'resume', ...args)

      async function more(load: GuestCommand, count = 4): Promise<void> {
        const before = load.lines().length
        await until('more stamps', () => load.lines().length > before + count, 120_000)
      }

      const lastStamp = (load: GuestCommand): number => Number(/\d+$/.exec(load.lines().at(-1)!)![0])

      test(
        'that writes stamped blocks goes on with every stamp right: cached, engine killed, suspended, host rebooted, resumed, detached',
        { timeout: TIMEOUT },
        async () => {
          await host.define('web01')
          await host.cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await host.cli.ask('vm', 'start', 'web01')
          const load = (await host.booted('web01')).start(stampScript('/dev/vda', STAMPED))
          await more(load)
          await killEngine(host.directory)
          await more(load)
          await until('write-back', async () => (await disk()).mode.inForce === 'write-back')

          const began = performance.now()
          expect(await suspend('web01')).toMatchObject({ changed: true })
          const suspended = performance.now()
          const before = lastStamp(load)
          const checkpoint = await host.cli.ask<CheckpointDocument>('checkpoint', 'show', 'web01')
          expect(await vm()).toMatchObject({
            state: 'suspended',
            checkpoint: { cache: 'fast', bytes: checkpoint.bytes },
          })
          expect(await disk()).toMatchObject({ dirtyBytes: 0, lacksWrites: false })
          expect(await checkStamps(host.image('web01'), STAMPED)).toMatchObject({ wrong: [] })
          expect(await suspend('web01')).toMatchObject({ changed: false })
          expect(await host.attempt('vm', 'start', 'web01')).toMatchObject({ code: 4 })

          await host.reboot()
          expect(await vm()).toMatchObject({ state: 'suspended' })
          const woken = performance.now()
          expect(await resume('web01')).toMatchObject({ changed: true })
          process.stderr.write(
            `${driver}: suspend ${(checkpoint.bytes / MIB).toFixed()} MiB: ${(suspended - began).toFixed()} ms, resume: ${(performance.now() - woken).toFixed()} ms\n`,
          )
          const again = await host.again('web01')
          // A disk whose index is still being read is put through its cache a moment later.
          await until('the cache', async () => (await vm()).disks[0]!.path === 'cached')
          expect(await vm()).toMatchObject({ state: 'running', checkpoint: null })
          expect(await host.cli.ask('checkpoint', 'list')).toEqual({ checkpoints: [] })
          await until('stamps of the resumed guest', async () => {
            const { newest } = await checkStamps(host.image('web01'), STAMPED)
            return newest > before
          })
          expect(await again.start('dmesg | grep -iE "i/o error|reset" || true').ended).toEqual({ code: 0, output: '' })
          await host.cli.ask('cache', 'detach', '--vm', 'web01')
          expect(await vm()).toMatchObject({ disks: [{ path: 'direct' }] })
          await again.start('sleep 1; touch /tmp/stop; sleep 1').ended
          await host.cli.ask('vm', 'stop', 'web01', '--force')
          const { newest, wrong } = await checkStamps(host.image('web01'), STAMPED)
          expect(wrong).toEqual([])
          expect(newest).toBeGreaterThan(before)
          expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({ code: 4 })
        },
      )

      test('is not resumed against a disk that was written since', { timeout: TIMEOUT }, async () => {
        await host.define('web01')
        await host.cli.ask('vm', 'start', 'web01')
        await host.booted('web01')
        await suspend('web01')
        await must(pathOf('qemu-io'), ['-f', 'raw', '-c', 'write -q -P 0x5a 8m 64k', host.image('web01')])
        expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({
          code: 7,
          document: { error: { code: 'ORIGIN_CHANGED' } },
        })
        expect(await vm()).toMatchObject({ state: 'suspended' })
        expect(await host.attempt('checkpoint', 'delete', 'web01')).toMatchObject({ code: 7 })
        await host.cli.ask('checkpoint', 'delete', 'web01', '--discard-memory')
        await host.cli.ask('vm', 'start', 'web01')
        await host.booted('web01')
      })

      test('that was started without its memory is not resumed', { timeout: TIMEOUT }, async (context) => {
        if (host.libvirt === null) return context.skip('only vmcache starts its VMs')
        await host.define('web01')
        await host.cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
        await host.libvirt.virsh('start', 'web01')
        await host.booted('web01')
        await suspend('web01')
        expect(await host.attempt('vm', 'release', 'web01')).toMatchObject({ code: 4 })
        await host.libvirt.virsh('start', 'web01', '--paused')
        await host.libvirt.virsh('resume', 'web01')
        const guest = await host.booted('web01')
        expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({ code: 4 })
        expect(await vm()).toMatchObject({ state: 'running' })
        await guest.start('dd if=/dev/urandom of=/dev/vda bs=4096 count=1 conv=fsync').ended
        await host.libvirt.virsh('destroy', 'web01')
        expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({
          code: 7,
          document: { error: { code: 'ORIGIN_CHANGED' } },
        })
        expect(await vm()).toMatchObject({ state: 'suspended' })
      })

      test(
        'goes on where it is not suspended after all, and stays suspended where it is not resumed',
        { timeout: TIMEOUT },
        async () => {
          await host.define('web01')
          await host.cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await host.cli.ask('vm', 'start', 'web01')
          const guest = await host.booted('web01')
          const load = guest.start(stampScript('/dev/vda', STAMPED))
          await more(load)
          // Less than what this guest needs.
          await host.cli.ask('cache', 'create', 'small', '--device', `${join(host.directory, 'small.img')},size=144m`)
          await host.cli.ask('cache', 'detach', '--vm', 'web01')
          await host.cli.ask('cache', 'attach', 'small', '--vm', 'web01', '--mode', 'write-back')
          await guest.start('head -c 100m /dev/urandom > /tmp/random').ended
          expect(await host.attempt('vm', 'suspend', 'web01')).toMatchObject({
            code: 5,
            document: { error: { code: 'NO_SPACE' } },
          })
          await more(load)
          expect(await vm()).toMatchObject({ state: 'running', checkpoint: null, disks: [{ path: 'cached' }] })
          expect((await host.libvirt?.virsh('domstate', 'web01')) ?? 'running').toBe('running')
          expect(await host.cli.ask('checkpoint', 'list')).toEqual({ checkpoints: [] })

          await host.cli.ask('cache', 'detach', '--vm', 'web01')
          await host.cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await suspend('web01')
          const initramfs = join(host.directory, 'initramfs')
          await rename(initramfs, `${initramfs}.away`)
          expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({ code: 9 })
          expect(await vm()).toMatchObject({ state: 'suspended' })
          await rename(`${initramfs}.away`, initramfs)
          await resume('web01')
          const again = await host.again('web01')
          expect(await again.start('dmesg | grep -iE "i/o error|reset" || true').ended).toEqual({ code: 0, output: '' })
          await again.start('touch /tmp/stop; sleep 1').ended
          await host.cli.ask('vm', 'stop', 'web01', '--force')
          expect(await checkStamps(host.image('web01'), STAMPED)).toMatchObject({ wrong: [] })
        },
      )

      test('is not resumed from a checkpoint with a flipped bit', { timeout: TIMEOUT }, async () => {
        await host.define('web01')
        await host.cli.ask('vm', 'start', 'web01')
        const guest = await host.booted('web01')
        const marker = `marker ${'m'.repeat(40)} of this guest alone`
        const { output } = await guest.start(
          `for i in $(seq 200); do echo "${marker}"; done > /tmp/marker; sync; echo done`,
        ).ended
        expect(output).toBe('done')
        await suspend('web01')
        await killSupervisor(host.directory)
        const at = (await readFile(host.device)).indexOf(`${marker}\n${marker}\n`)
        expect(at).toBeGreaterThan(0)
        const file = await open(host.device, 'r+')
        await file.write('M', at + 7)
        await file.sync()
        await file.close()
        await host.cli.ask('engine', 'start')
        expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({
          code: 1,
          document: { results: [{ ok: false }], error: { code: 'CORRUPT' } },
        })
        expect(await vm()).toMatchObject({ state: 'suspended' })
      })

      test(
        'goes on from storage, where its memory was put at once or moved to; its clock is right again',
        { timeout: TIMEOUT },
        async (context) => {
          if (driver === 'libvirt') return context.skip('what the engine does is the same for both')
          const agent = join(host.directory, 'agent')
          await host.define(
            ...['web01', '-chardev', `socket,id=agent,path=${agent},server=on,wait=off`, '-device'],
            'virtserialport,chardev=agent,name=org.qemu.guest_agent.0,nr=2',
          )
          await host.cli.ask('vm', 'start', 'web01')
          const guest = await host.booted('web01')
          guest.start(AGENT)
          const { output: boot } = await guest.start('cat /proc/sys/kernel/random/boot_id').ended
          await guest.start('date -s @1000000000').ended
          const chunks = async () => (await host.cli.ask<CacheDocument>('cache', 'show', 'fast')).chunks.checkpoint
          const show = () => host.cli.ask<CheckpointDocument>('checkpoint', 'show', 'web01')

          await suspend('web01', '--to', 'storage')
          const { path } = await show()
          expect(await chunks()).toBe(0)
          await host.reboot()
          await host.cli.ask('checkpoint', 'move', 'web01', '--to', 'local')
          expect(await show()).toMatchObject({ location: 'cache', path: null, damage: null })
          expect(await chunks()).toBeGreaterThan(3)
          expect(await readdir(dirname(path!))).toEqual([])

          // Killed in the middle of the way back: one of both is left, and it is whole.
          const moving = host.attempt('checkpoint', 'move', 'web01', '--to', 'storage').catch(() => null)
          await until('a copy', async () => (await readdir(dirname(path!))).length > 0)
          await killEngine(host.directory)
          await moving
          await until('one that counts, and no other', async () => {
            const { location, damage } = await show()
            const left = (await readdir(dirname(path!))).length
            return damage === null && (location === 'cache' ? left === 0 : (await chunks()) === 0 && left === 1)
          })
          await host.cli.ask('checkpoint', 'move', 'web01', '--to', 'storage')
          expect(await show()).toMatchObject({ location: 'storage', path, damage: null })

          const file = await open(path!, 'r+')
          const byte = Buffer.alloc(1)
          await file.read(byte, 0, 1, 9 * MIB)
          const flip = () => file.write(Buffer.of((byte[0]! ^= 1)), 0, 1, 9 * MIB)
          await flip()
          expect(await host.attempt('vm', 'resume', 'web01')).toMatchObject({
            document: { error: { code: 'CORRUPT' } },
          })
          await flip()
          await file.close()
          await resume('web01')
          const again = await host.again('web01')
          expect((await again.start('cat /proc/sys/kernel/random/boot_id').ended).output).toBe(boot)
          const { output: time } = await again.start('date +%s').ended
          expect(Math.abs(Number(time) - Date.now() / 1000)).toBeLessThan(5)
          expect(await readdir(dirname(path!))).toEqual([])
          const { events } = await host.cli.ask<{ events: EventDocument[] }>('event', 'list', '--vm', 'web01')
          expect(events.filter(({ what }) => what === 'vm.clock')).toMatchObject([{ result: 'ok' }])
        },
      )

      test(
        'goes on, once, whenever the engine is killed while it is suspended or resumed',
        { timeout: TIMEOUT },
        async () => {
          await host.define('web01')
          await host.cli.ask('cache', 'attach', 'fast', '--vm', 'web01', '--mode', 'write-back')
          await host.cli.ask('vm', 'start', 'web01')
          let guest = await host.booted('web01')
          const bootId = 'cat /proc/sys/kernel/random/boot_id'
          const { output: boot } = await guest.start(bootId).ended
          guest.start(stampScript('/dev/vda', STAMPED))
          const random = new SeededRandom(SEED)
          const ends: string[] = []
          /** Kills the engine a moment after the command was given; what the VM is when nothing is under way any more. */
          const interrupted = async (verb: 'suspend' | 'resume', mostMilliseconds: number): Promise<string> => {
            const given = host.attempt('vm', verb, 'web01').catch(() => null)
            await new Promise((resolve) => setTimeout(resolve, random.below(mostMilliseconds)))
            await killEngine(host.directory)
            await given
            await until('the end of what was begun', async () => {
              const { checkpoints } = await host.cli.ask<{ checkpoints: CheckpointDocument[] }>('checkpoint', 'list')
              return (
                checkpoints.every(({ state }) => state === 'suspended') && /running|suspended/.test((await vm()).state)
              )
            })
            const { state } = await vm()
            ends.push(`${verb} ${state}`)
            return state
          }
          for (let round = 0; round < KILLS; round++) {
            if ((await interrupted('suspend', driver === 'qemu' ? 2500 : 8000)) === 'running') continue
            if ((await interrupted('resume', 4000)) === 'suspended') await resume('web01')
          }
          process.stderr.write(`seed ${SEED}: ${ends.join(', ')}\n`)
          guest = await host.again('web01')
          expect((await guest.start(bootId).ended).output).toBe(boot)
          expect(await guest.start('dmesg | grep -iE "i/o error|reset" || true').ended).toEqual({ code: 0, output: '' })
          await guest.start('touch /tmp/stop; sleep 1').ended
          await host.cli.ask('vm', 'stop', 'web01', '--force')
          const { newest, wrong } = await checkStamps(host.image('web01'), STAMPED)
          expect(wrong).toEqual([])
          expect(newest).toBeGreaterThan(10)
          expect(await host.cli.ask('checkpoint', 'list')).toEqual({ checkpoints: [] })
        },
      )

      test(
        'has room for its memory kept from its start on, and is not started where there is none',
        { timeout: TIMEOUT },
        async () => {
          const chunks = async () => (await host.cli.ask<CacheDocument>('cache', 'show', 'fast')).chunks
          for (const name of ['web01', 'web02', 'web03']) {
            await host.define(name)
            await host.cli.ask('policy', 'set', '--vm', name, '--rapid-suspend', 'on')
          }
          // 768 MiB are 47 chunks; what one VM of 256 MiB may need are 19.
          await host.cli.ask('vm', 'start', 'web01')
          await host.cli.ask('vm', 'start', 'web02')
          await host.booted('web01')
          expect(await chunks()).toMatchObject({ reserved: 38, checkpoint: 0 })
          const { reservation } = await host.cli.ask<VmDocument>('vm', 'show', 'web01')
          expect(reservation).toEqual({ cache: 'fast', bytes: 19 * 16 * MIB })
          expect(await host.attempt('vm', 'start', 'web03')).toMatchObject({
            code: 5,
            document: { error: { code: 'NO_SPACE' } },
          })
          await killEngine(host.directory)
          await until('what is reserved anew', async () => (await chunks()).reserved === 38)
          await suspend('web01')
          const { bytes } = await host.cli.ask<CheckpointDocument>('checkpoint', 'show', 'web01')
          const suspended = await chunks()
          expect(suspended.reserved).toBe(19)
          expect(suspended.checkpoint).toBeGreaterThanOrEqual(Math.ceil(bytes / (16 * MIB)))
          expect(suspended.checkpoint).toBeLessThanOrEqual(19)
          await resume('web01')
          expect(await chunks()).toMatchObject({ reserved: 38, checkpoint: 0 })
          expect((await (await host.again('web01')).start('echo here').ended).output).toBe('here')
        },
      )

      test(
        'that is idle is suspended from cron, five guests of which two are; a second run changes nothing',
        { timeout: TIMEOUT },
        async () => {
          const vnc = join(host.directory, 'vnc')
          await host.define('watched', '-vnc', `unix:${vnc}`)
          for (const name of ['idle1', 'idle2', 'computes', 'writes']) await host.define(name)
          const names = ['idle1', 'idle2', 'computes', 'writes', 'watched']
          await host.cli.ask('vm', 'start', ...names)
          const guests = await Promise.all(names.map((name) => host.booted(name)))
          guests[2]!.start('while [ ! -e /tmp/stop ]; do :; done')
          guests[3]!.start(
            'while :; do dd if=/dev/zero of=/dev/vda bs=4096 count=5 oflag=direct status=none; sleep 1; done',
          )
          const viewer: Socket = createConnection(vnc)
          await until(
            'two VMs that are idle',
            async () => {
              const { vms } = await host.cli.ask<{ vms: VmDocument[] }>('vm', 'list')
              const isSeen = vms.some(({ name, awake }) => name === 'watched' && awake.join().includes('console'))
              return isSeen && vms.filter(({ idleSeconds }) => (idleSeconds ?? 0) >= 60).length >= 2
            },
            200_000,
          )
          const why = await Promise.all(names.map(async (name) => (await vm(name)).awake.join()))
          expect(why).toEqual([
            '',
            '',
            expect.stringMatching(/^processor \d+ %, idle is under/),
            expect.stringContaining('disk requests a minute'),
            'a console is open (VNC)',
          ])
          // What cron gives: no terminal, no home, next to no path.
          const cron = async (): Promise<Results> => {
            const command = [
              process.execPath,
              join(ROOT, 'bin', 'vmcache'),
              'vm',
              'suspend',
              '--all',
              '--idle',
              '1m',
              '--json',
            ]
            const variables = Object.entries(host.cli.environment).map(([name, value]) => `${name}=${value}`)
            const { code, stdout, stderr } = await run('env', [
              '-i',
              'PATH=/usr/bin:/bin',
              'SHELL=/bin/sh',
              ...variables,
              ...command,
            ])
            expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
            return JSON.parse(stdout) as Results
          }
          const first = await cron()
          expect(first.changed).toBe(true)
          expect(first.results.map(({ name, ok }) => [name, ok])).toEqual([
            ['idle1', true],
            ['idle2', true],
          ])
          const { vms } = await host.cli.ask<{ vms: VmDocument[] }>('vm', 'list')
          expect(vms.map(({ name, state }) => `${name} ${state}`)).toEqual([
            ...['computes running', 'idle1 suspended', 'idle2 suspended', 'watched running', 'writes running'],
          ])
          expect(await cron()).toEqual({ changed: false, results: [] })
          expect(await resume('--all')).toMatchObject({
            changed: true,
            results: [{ name: 'idle1' }, { name: 'idle2' }],
          })
          viewer.destroy()
        },
      )
    },
    why,
  ),
)

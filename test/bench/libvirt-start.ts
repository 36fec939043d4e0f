/**
 * How long a domain of libvirt that is started by hand runs past its cache: from the end of `virsh start`, and from the guest's first instruction.
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/libvirt-start.js [--starts 7] [--restores 5]
 *
 * The guest's first instruction is QEMU's event RESUME; its disk goes through the cache by the time that the engine's event vm.insert says. It is
 * restored (`virsh managedsave`, then `virsh start`) as often as `--restores` says.
 */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { DiskDocument, EventDocument } from '../../src/protocol/control/documents.js'
import { endSupervisor } from '../support/background-engine.js'
import { commandLine } from '../support/command-line.js'
import { initramfs } from '../support/guest/initramfs.js'
import { guestKernel } from '../support/guest/kernel.js'
import { defineDomain, startLibvirt } from '../support/libvirt.js'
import { until } from '../support/processes.js'
import { median } from './compare.js'

const IMAGE_BYTES = 64 * 2 ** 20

const { values: options } = parseArgs({
  options: { starts: { type: 'string', default: '7' }, restores: { type: 'string', default: '5' } },
})
const directory = await mkdtemp(join(tmpdir(), 'vmcache-start-'))
const path = (name: string): string => join(directory, name)
const cli = commandLine(process.cwd(), directory, () => {})
const libvirt = await startLibvirt(directory)
try {
  await prepare()
  await report('virsh start', Number(options.starts), ['destroy', 'web01'])
  await report('virsh managedsave, virsh start', Number(options.restores), ['managedsave', 'web01'])
} finally {
  await libvirt.stop()
  await endSupervisor(directory)
  await rm(directory, { recursive: true, force: true })
}

async function prepare(): Promise<void> {
  const kernel = await guestKernel()
  await writeFile(path('initramfs'), await initramfs(kernel, []))
  await writeFile(path('web01.img'), '')
  await truncate(path('web01.img'), IMAGE_BYTES)
  await defineDomain(libvirt, directory, 'web01', {
    ...{ kernel: kernel.image, initrd: path('initramfs'), append: 'quiet panic=-1', commands: path('commands') },
    disks: [{ target: 'vda', path: path('web01.img'), format: 'raw' }],
  })
  await cli.ask('cache', 'create', 'fast', '--device', `${path('ssd.img')},size=256m`)
  await cli.ask('vm', 'adopt', 'web01', '--connect', libvirt.uri)
  await cli.ask('cache', 'attach', 'fast', '--vm', 'web01')
  await libvirt.virsh('start', 'web01')
  await inserted(0)
}

/** Starts the domain again and again after it was ended by `end`. */
async function report(what: string, times: number, end: readonly string[]): Promise<void> {
  const [fromEnd, fromGuest]: [number[], number[]] = [[], []]
  for (let start = 0; start < times; start++) {
    await libvirt.virsh(...end)
    await until('that the image is complete', async () => {
      const disk = await cli.ask<DiskDocument>('disk', 'show', 'web01/vda')
      return !disk.lacksWrites && disk.mode.inForce === 'write-through'
    })
    const begunAt = Date.now()
    const guest = await startAndListen()
    const returnedAt = Date.now()
    const insertedAt = await inserted(begunAt)
    fromEnd.push(insertedAt - returnedAt)
    fromGuest.push(insertedAt - (await guest()))
  }
  const line = (values: number[]) =>
    `${median(values).toFixed(0)} ms (${values.map((value) => value.toFixed(0)).join(' ')})`
  process.stdout.write(
    `${what}: through the cache ${line(fromEnd)} after the command has ended, ${line(fromGuest)} after the guest began\n`,
  )
}

/** Starts the domain; returns what waits for the time of the guest's first instruction. */
async function startAndListen(): Promise<() => Promise<number>> {
  let said = ''
  const words = ['-c', libvirt.uri, 'qemu-monitor-event', '--event', 'RESUME', '--loop']
  const watch = spawn('virsh', words, { stdio: ['ignore', 'pipe', 'ignore'] })
  watch.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()))
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await libvirt.virsh('start', 'web01')
  return async () => {
    const seconds = await until('the first instruction', () => /event RESUME at ([\d.]+)/.exec(said)?.[1])
    watch.kill('SIGKILL')
    return Number(seconds) * 1000
  }
}

/** When the disk went through its cache, at that time or later. */
function inserted(sinceMilliseconds: number): Promise<number> {
  return until('the cache', async () => {
    const times = (await events('vm.insert')).map(({ at }) => Date.parse(at))
    return times.find((at) => at > sinceMilliseconds)
  })
}

async function events(wanted: string): Promise<EventDocument[]> {
  const all = (await cli.ask<{ events: EventDocument[] }>('event', 'list')).events
  return all.filter(({ what }) => what === wanted)
}

/**
 * How fast a VM goes into the cache and comes back, beside what the device below the cache does in the same rounds.
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/suspend.js [--memory 1024] [--random 600] [--rounds 5]
 *
 * A guest with `--memory` MiB of which `--random` MiB cannot be compressed is suspended and resumed. The reference of a suspend writes as many
 * bytes to a file beside the cache's, directly and with a sync at the end; that of a resume reads them back, directly. A resume from an origin of
 * 100 MB/s takes what the bytes alone need there. Medians of the rounds.
 */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { VmDocument } from '../../src/protocol/control/documents.js'
import { endSupervisor } from '../support/background-engine.js'
import { commandLine } from '../support/command-line.js'
import { openCommands } from '../support/guest/guest-commands.js'
import { initramfs } from '../support/guest/initramfs.js'
import { guestKernel } from '../support/guest/kernel.js'
import { must } from '../support/processes.js'
import { bar } from './case.js'
import { median } from './compare.js'

const MEBIBYTE = 1024 ** 2
const SLOW_ORIGIN_BYTES_PER_SECOND = 100e6
/** Of the sequential speed of the device. */
const LEAST_OF_DEVICE = 0.7
const LEAST_OF_SLOW_ORIGIN = 5

const { values: options } = parseArgs({
  options: {
    memory: { type: 'string', default: '1024' },
    random: { type: 'string', default: '600' },
    rounds: { type: 'string', default: '5' },
  },
})
const directory = await mkdtemp(join(tmpdir(), 'vmcache-suspend-'))
const path = (name: string): string => join(directory, name)
const cli = commandLine(process.cwd(), directory, () => {})
try {
  await prepare()
  await measure()
} finally {
  await cli.ask('vm', 'stop', 'web01', '--force').catch(() => undefined)
  await endSupervisor(directory)
  await rm(directory, { recursive: true, force: true })
}

async function prepare(): Promise<void> {
  const kernel = await guestKernel()
  await writeFile(path('initramfs'), await initramfs(kernel, []))
  await writeFile(path('web01.img'), '')
  await truncate(path('web01.img'), 64 * MEBIBYTE)
  await cli.ask('cache', 'create', 'fast', '--device', `${path('ssd.img')},size=${Number(options.memory) * 2 + 512}m`)
  const boot = ['--kernel', kernel.image, '--initrd', path('initramfs'), '--append', 'quiet panic=-1']
  await cli.ask(
    ...['vm', 'define', 'web01', '--memory', `${options.memory}m`, '--disk', path('web01.img'), '--accel', 'tcg'],
    ...[...boot, '--', '-chardev', `socket,id=commands,path=${path('port')},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=commands,name=commands,nr=1'],
  )
  await cli.ask('cache', 'attach', 'fast', '--vm', 'web01')
  await cli.ask('vm', 'start', 'web01')
  const guest = await openCommands(path('port'))
  await guest.booted
  const { code } = await guest.start(
    `mkdir /ram && mount -t tmpfs -o size=100% ram /ram && head -c ${options.random}m /dev/urandom > /ram/random`,
  ).ended
  if (code !== 0) throw new Error(`the guest has no room for ${options.random} MiB`)
  guest.close()
}

async function measure(): Promise<void> {
  const [suspends, resumes, writes, reads]: [number[], number[], number[], number[]] = [[], [], [], []]
  let bytes = 0
  for (let round = 0; round < Number(options.rounds); round++) {
    suspends.push(await secondsOf(() => cli.ask('vm', 'suspend', 'web01')))
    bytes = (await cli.ask<VmDocument>('vm', 'show', 'web01')).checkpoint!.bytes
    const blocks = `count=${Math.ceil(bytes / MEBIBYTE)}`
    writes.push(
      await secondsOf(() =>
        must('dd', ['if=/dev/zero', `of=${path('reference')}`, 'bs=1M', blocks, 'oflag=direct', 'conv=fsync']),
      ),
    )
    resumes.push(await secondsOf(() => cli.ask('vm', 'resume', 'web01')))
    reads.push(await secondsOf(() => must('dd', [`if=${path('reference')}`, 'of=/dev/null', 'bs=1M', 'iflag=direct'])))
    process.stdout.write(
      `  ${(bytes / MEBIBYTE).toFixed(0)} MiB: suspend ${shown(suspends.at(-1)!)}, dd writes ${shown(writes.at(-1)!)}; ` +
        `resume ${shown(resumes.at(-1)!)}, dd reads ${shown(reads.at(-1)!)}\n`,
    )
  }
  const suspend = median(writes) / median(suspends)
  const resume = median(reads) / median(resumes)
  bar('suspend, of the speed of the device', suspend, suspend >= LEAST_OF_DEVICE, '', `at least ${LEAST_OF_DEVICE}`)
  bar('resume, of the speed of the device', resume, resume >= LEAST_OF_DEVICE, '', `at least ${LEAST_OF_DEVICE}`)
  const faster = bytes / SLOW_ORIGIN_BYTES_PER_SECOND / median(resumes)
  bar(
    'resume, beside an origin of 100 MB/s',
    faster,
    faster >= LEAST_OF_SLOW_ORIGIN,
    'x',
    `at least ${LEAST_OF_SLOW_ORIGIN} x`,
  )
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

function shown(seconds: number): string {
  return `${seconds.toFixed(2)} s`
}

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { until } from '../processes.js'
import { findProgram } from '../programs.js'
import { openCommands, type GuestCommand } from './guest-commands.js'
import { initramfs } from './initramfs.js'
import { guestKernel } from './kernel.js'
import { connectMonitor, type Monitor } from './qmp.js'

/** An NBD export that the guest sees as a virtio disk: the first is /dev/vda and `disk0` to QEMU. */
export interface GuestDisk {
  /** Path of the unix socket. */
  readonly socket: string
  /** Export name; empty where not given. */
  readonly exportName?: string
  readonly readOnly?: boolean
}

export interface GuestOptions {
  /** A directory of the caller for sockets, initramfs and the console's log. */
  readonly directory: string
  readonly disks: readonly GuestDisk[]
  /** Programs of this machine that the guest needs beside busybox: it finds them as /sbin/NAME (busybox prefers its own). */
  readonly programs?: readonly string[]
  readonly memoryMebibytes?: number
  /** How long QEMU waits for a lost server before the guest is stopped. */
  readonly reconnectSeconds?: number
}

export interface Guest {
  readonly monitor: Monitor
  /** Time from the start of QEMU to the first command. */
  readonly bootMilliseconds: number
  /** `onLine` is called for each line of output as it comes. */
  start(script: string, onLine?: (line: string) => void): GuestCommand
  /** Runs a script that must succeed, and returns its output. */
  run(script: string, timeoutMilliseconds?: number): Promise<string>
  /** Ends QEMU at once, as a power cut of the guest would. */
  stop(): Promise<void>
}

export type { GuestCommand }

/** Starts a guest and waits until it takes commands. */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const startedAt = performance.now()
  const path = (name: string): string => join(options.directory, `guest-${name}`)
  const kernel = await guestKernel()
  await writeFile(path('initramfs'), await initramfs(kernel, options.programs ?? []))
  for (const name of ['commands', 'monitor']) await rm(path(name), { force: true })

  // A guest ends with the process that started it, however that ends.
  const command = ['--pdeathsig', 'KILL', findProgram('qemu-system-x86_64')!]
  const qemu = spawn('setpriv', [...command, ...argumentsOf(options, kernel.image, path)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let complaints = ''
  qemu.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
  const exited = once(qemu, 'exit')
  const stop = async (): Promise<void> => {
    if (qemu.exitCode === null && qemu.signalCode === null) qemu.kill('SIGKILL')
    await exited
  }

  try {
    const alive = (): void => {
      if (qemu.exitCode !== null || qemu.signalCode !== null) throw new Error(`QEMU ended: ${complaints}`)
    }
    const monitor = await until(
      'the monitor of QEMU',
      () => (alive(), connectMonitor(path('monitor')).catch(() => null)),
    )
    const commands = await openCommands(path('commands'))
    await Promise.race([
      commands.booted,
      exited.then(alive),
      rejectAfter(120_000, async () => `the guest does not answer\n${await readFile(path('console'), 'utf8')}`),
    ])
    return {
      monitor,
      bootMilliseconds: performance.now() - startedAt,
      start: commands.start,
      async run(script, timeoutMilliseconds = 120_000) {
        const command = commands.start(script)
        const timeout = rejectAfter(
          timeoutMilliseconds,
          () => `the guest still runs: ${script}\n${command.lines().join('\n')}`,
        )
        const { code, output } = await Promise.race([command.ended, timeout])
        if (code !== 0) throw new Error(`in the guest: ${script}\nended with ${code}\n${output}`)
        return output
      },
      async stop() {
        monitor.close()
        await stop()
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function argumentsOf(options: GuestOptions, kernel: string, path: (name: string) => string): string[] {
  // Without hardware virtualisation on purpose: it works wherever tests run, nested or not.
  const machine = ['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot']
  const memory = ['-m', String(options.memoryMebibytes ?? 256)]
  const boot = ['-kernel', kernel, '-initrd', path('initramfs'), '-append', 'console=ttyS0 quiet panic=-1']
  const channels = [
    ...['-serial', `file:${path('console')}`, '-qmp', `unix:${path('monitor')},server=on,wait=off`],
    ...['-chardev', `socket,id=commands,path=${path('commands')},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=commands,name=commands,nr=1'],
  ]
  const disks = options.disks.flatMap((disk, index) => [
    '-blockdev',
    JSON.stringify({
      driver: 'nbd',
      'node-name': `disk${index}`,
      server: { type: 'unix', path: disk.socket },
      export: disk.exportName ?? '',
      'reconnect-delay': options.reconnectSeconds ?? 30,
      'read-only': disk.readOnly ?? false,
      discard: 'unmap',
    }),
    '-device',
    `virtio-blk-pci,drive=disk${index},id=virtio${index},werror=stop,rerror=stop`,
  ])
  return [...machine, ...memory, ...boot, ...channels, ...disks]
}

async function rejectAfter(milliseconds: number, message: () => string | Promise<string>): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
  throw new Error(await message())
}

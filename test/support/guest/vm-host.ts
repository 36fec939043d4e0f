import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DriverName } from '../../../src/model/vm.js'
import { endSupervisor, killSupervisor } from '../background-engine.js'
import { commandLine, type CommandLine } from '../command-line.js'
import { defineDomain, startLibvirt, type Libvirt } from '../libvirt.js'
import { run } from '../processes.js'
import { ROOT } from '../vmcache.js'
import { openCommands, type GuestCommands } from './guest-commands.js'
import { initramfs } from './initramfs.js'
import { guestKernel } from './kernel.js'

const MIB = 2 ** 20

/** A private engine with a cache `fast`, and VMs with the test guest that it, or a libvirt of its own, runs. */
export interface VmHost {
  readonly directory: string
  readonly cli: CommandLine
  /** The file of the cache. */
  readonly device: string
  /** The one disk of a VM. */
  image(name: string): string
  /** Null where the engine runs its VMs. */
  readonly libvirt: Libvirt | null
  /** Defines a VM of 256 MiB with one disk of 16 MiB. */
  define(name: string, ...furtherQemuArguments: string[]): Promise<void>
  /** The way to the commands of a guest that has just been started. */
  booted(name: string): Promise<GuestCommands>
  /** The same of one that was resumed: it says nothing of itself. */
  again(name: string): Promise<GuestCommands>
  /** Runs a command that may fail: its exit code, and its document. */
  attempt<Document = { error: { code: string; message: string } }>(
    ...args: string[]
  ): Promise<{ code: number | null; document: Document }>
  /** Everything of vmcache, of libvirt and of the guests is killed, as by a power cut, and begins anew. */
  reboot(): Promise<void>
  stop(): Promise<void>
}

export async function startVmHost(cacheBytes: number, driver: DriverName = 'qemu'): Promise<VmHost> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-vms-'))
  const path = (name: string): string => join(directory, name)
  const cli = commandLine(ROOT, directory, () => {}, { VMCACHE_CONFIG: path('config.yaml') })
  // An emulated guest that does nothing does something: with the devices that libvirt gives it more than ours.
  await mkdir(path('checkpoints'))
  await writeFile(
    path('config.yaml'),
    `idle-processor-percent: ${driver === 'qemu' ? 3 : 20}\ncheckpoint-dir: ${path('checkpoints')}\n`,
  )
  const device = path('ssd.img')
  const connections: GuestCommands[] = []
  let libvirt: Libvirt | null = null
  let lastId = 1
  const connect = async (name: string): Promise<GuestCommands> => {
    // Ids of commands that run in a guest already are not used again.
    const commands = await openCommands(path(`${name}.port`), { firstId: (lastId += 1000) })
    connections.push(commands)
    return commands
  }
  const stop = async (): Promise<void> => {
    for (const connection of connections) connection.close()
    await cli.ask('vm', 'stop', '--all', '--force').catch(() => {})
    await libvirt?.stop()
    await endSupervisor(directory)
    await rm(directory, { recursive: true, force: true })
  }

  try {
    if (driver === 'libvirt') libvirt = await startLibvirt(directory)
    const kernel = await guestKernel()
    await writeFile(path('initramfs'), await initramfs(kernel, []))
    await cli.ask('cache', 'create', 'fast', '--device', `${device},size=${cacheBytes / MIB}m`)
    return {
      directory,
      cli,
      device,
      libvirt,
      image: (name) => path(`${name}.img`),
      async define(name, ...further) {
        await writeFile(path(`${name}.img`), '')
        await truncate(path(`${name}.img`), 16 * MIB)
        if (libvirt !== null) {
          await defineDomain(libvirt, directory, name, {
            ...{ kernel: kernel.image, initrd: path('initramfs'), append: 'quiet panic=-1', further },
            ...{ commands: path(`${name}.port`), disks: [{ target: 'vda', path: path(`${name}.img`), format: 'raw' }] },
          })
          await cli.ask('vm', 'adopt', name, '--connect', libvirt.uri)
          return
        }
        const boot = ['--kernel', kernel.image, '--initrd', path('initramfs'), '--append', 'quiet panic=-1']
        const port = `socket,id=commands,path=${path(`${name}.port`)},server=on,wait=off`
        await cli.ask(
          ...['vm', 'define', name, '--memory', '256m', '--disk', path(`${name}.img`), '--accel', 'tcg', ...boot, '--'],
          ...['-chardev', port, '-device', 'virtio-serial-pci'],
          ...['-device', 'virtserialport,chardev=commands,name=commands,nr=1', ...further],
        )
      },
      async booted(name) {
        const commands = await connect(name)
        await commands.booted
        return commands
      },
      again: connect,
      async attempt<Document>(...args: string[]) {
        const { code, stdout } = await run(join(ROOT, 'bin', 'vmcache'), [...args, '--json'], { env: cli.environment })
        return { code, document: JSON.parse(stdout) as Document }
      },
      async reboot() {
        await killSupervisor(directory)
        await libvirt?.reboot()
        await cli.ask('engine', 'start')
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

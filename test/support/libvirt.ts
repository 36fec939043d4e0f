import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LIBVIRT_HOOK } from '../../src/daemon/libvirt-hook.js'
import { run, until } from './processes.js'

/** A libvirtd in a mount and process namespace of its own: it sees its own /etc/libvirt and sockets, and nothing of it is left behind. */
export interface Libvirt {
  /** URI under which it is reached from outside. */
  readonly uri: string
  virsh(...args: string[]): Promise<string>
  /** Ends it, and every domain with it. */
  stop(): Promise<void>
  /** The same as by a power cut of the host; then it runs again, and knows what was defined. */
  reboot(): Promise<void>
}

/** `user`: whom its QEMU runs as. */
const script = (user: string): string => `
rm -rf run
for path in run etc/libvirt var/lib/libvirt var/log/libvirt; do
  mkdir -p $path /$path
  [ $path != etc/libvirt ] || [ -e $path/libvirtd.conf ] || cp -a /etc/libvirt/. $path/
  mount --bind $path /$path
done
printf 'user = "${user}"\\ngroup = "${user}"\\n' >>/etc/libvirt/qemu.conf
virtlogd >log 2>&1 &
libvirtd >>log 2>&1 &
wait
`

/** `hook`: the text of a hook that it calls. `user`: of its QEMU; root, unless told else, may use the sockets and images of a test. */
export async function startLibvirt(
  directory: string,
  { hook = null as string | null, user = 'root' } = {},
): Promise<Libvirt> {
  const home = join(directory, 'libvirt')
  await mkdir(home)
  if (hook !== null) {
    const path = join(home, LIBVIRT_HOOK)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, hook, { mode: 0o755 })
  }
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc']
  // All of it ends with the process that started it, however that ends.
  const args = ['--pdeathsig', 'KILL', 'unshare', ...namespaces, 'sh', '-c', script(user)]
  const start = () => spawn('setpriv', args, { cwd: home, stdio: 'ignore' })
  let child = start()
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  const socket = join(home, 'run', 'libvirt', 'libvirt-sock')
  const uri = `qemu+unix:///system?socket=${socket}`
  const virsh = async (...words: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run('virsh', ['-q', '-c', uri, ...words])
    if (code === 0) return stdout.trim()
    throw new Error(`virsh ${words.join(' ')}: ${stderr}`)
  }
  const ready = async (): Promise<void> => {
    await until('the socket of libvirtd', () => access(socket).then(Boolean.bind(null, true), () => false))
    await until('libvirtd', () => virsh('list').then(Boolean.bind(null, true), () => false))
  }
  const reboot = async (): Promise<void> => {
    await stop()
    child = start()
    await ready()
  }
  try {
    await ready()
    return { uri, virsh, stop, reboot }
  } catch (error) {
    await stop()
    throw error
  }
}

/** A domain with the test guest, whose port `commands` is to be found at a path. */
export interface GuestDomain {
  readonly kernel: string
  readonly initrd: string
  readonly append: string
  readonly commands: string
  readonly disks: readonly { readonly target: string; readonly path: string; readonly format: string }[]
  /** Further arguments of QEMU. */
  readonly further?: readonly string[]
}

/** Defines a domain that is stopped when a request of one of its disks fails. */
export async function defineDomain(
  libvirt: Pick<Libvirt, 'virsh'>,
  directory: string,
  name: string,
  { kernel, initrd, append, commands, disks, further = [] }: GuestDomain,
): Promise<void> {
  const devices = disks.map(
    ({ target, path, format }) => `<disk type='file' device='disk'>
<driver name='qemu' type='${format}' cache='none' error_policy='stop' rerror_policy='stop'/>
<source file='${path}'/><target dev='${target}' bus='virtio'/></disk>`,
  )
  const file = join(directory, `${name}.xml`)
  await writeFile(
    file,
    `<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>${name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type><kernel>${kernel}</kernel><initrd>${initrd}</initrd><cmdline>${append}</cmdline></os>
<devices>${devices.join('\n')}
<controller type='usb' model='none'/>
<channel type='unix'><source mode='bind' path='${commands}'/><target type='virtio' name='commands'/></channel>
</devices><qemu:commandline>${further.map((argument) => `<qemu:arg value='${argument}'/>`).join('')}</qemu:commandline></domain>`,
  )
  await libvirt.virsh('define', file)
}

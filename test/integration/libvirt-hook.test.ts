/**
 * The hook with a real libvirtd, in a mount and process namespace of its own: it sees its own /etc/libvirt and sockets, and nothing of
 * it is left behind.
 */
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { imageLockListPath } from '../../src/daemon/image-lock-list.js'
import { suspendedListPath } from '../../src/daemon/suspended-list.js'
import { LIBVIRT_HOOK, libvirtHook } from '../../src/daemon/libvirt-hook.js'
import { formatStamp } from '../../src/operations/stamp.js'
import { describeUnless, whyNoPrivateMounts } from '../support/conditions.js'
import { describeWith } from '../support/packages.js'
import { run } from '../support/processes.js'

const TIMEOUT = 300_000

let directory: string
let image: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-libvirt-'))
  image = join(directory, 'web 01.img')
  // QEMU runs as a user of its own.
  await run('chmod', ['755', directory])
  await writeFile(image, '')
  await truncate(image, 16 * 1024 * 1024)
})
afterEach(() => rm(directory, { recursive: true, force: true }))

const stampText = (lacksWrites: boolean) =>
  formatStamp({
    id: 'a1',
    hostId: 'b2',
    hostName: 'kvm07',
    disk: 'web01/vda',
    epoch: 3,
    since: '2026-01-01T00:00:00.000Z',
    lacksWrites,
  })

/** Runs lines of sh beside a libvirtd that has the hook and a domain `hooked` on the image; the output of all. */
async function withLibvirt(lines: readonly string[]): Promise<string> {
  await mkdir(join(directory, 'etc'))
  await writeFile(
    join(directory, 'hook'),
    libvirtHook({ imageLocks: imageLockListPath(directory), suspended: suspendedListPath(directory) }),
    { mode: 0o755 },
  )
  await writeFile(join(directory, 'dirty'), stampText(true))
  await writeFile(join(directory, 'complete'), stampText(false))
  await writeFile(
    join(directory, 'domain.xml'),
    `<domain type='qemu'><name>hooked</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='${image}'/><target dev='vda' bus='virtio'/></disk></devices>
</domain>`,
  )
  const script = `
cd '${directory}'
for path in run etc/libvirt var/lib/libvirt var/log/libvirt; do
  mkdir -p $path /$path
  [ $path != etc/libvirt ] || cp -a /etc/libvirt/. $path/
  mount --bind $path /$path
done
mkdir -p ${join(LIBVIRT_HOOK, '..')}
cp hook ${LIBVIRT_HOOK}
virtlogd >log 2>&1 &
libvirtd >>log 2>&1 &
export LIBVIRT_DEFAULT_URI=qemu:///system
for attempt in $(seq 600); do [ ! -S /run/libvirt/libvirt-sock ] || break; sleep 0.1; done
virsh define domain.xml
stamp='${image}.vmcache'
${lines.join('\n')}
`
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc']
  const outcome = await run('unshare', [...namespaces, 'sh', '-c', script], { timeoutMilliseconds: TIMEOUT })
  return `${outcome.stdout}${outcome.stderr}`
}

/** Each question as `NAME: yes` or `NAME: no`. */
const asking = (name: string, command: string) => `if ${command}; then echo '${name}: yes'; else echo '${name}: no'; fi`

describeUnless(whyNoPrivateMounts(), 'in namespaces of its own', () => {
  describeWith(['libvirtd', 'virsh', 'qemu-system-x86_64', 'unshare'], 'a domain whose image lacks writes', () => {
    test(
      'is neither started nor restored by libvirt, which says what to do; a complete one is',
      { timeout: TIMEOUT },
      async () => {
        const output = await withLibvirt([
          'cp complete "$stamp"',
          asking('complete starts', 'virsh start hooked'),
          asking('complete is saved', 'virsh save hooked saved'),
          'cp dirty "$stamp"',
          asking('dirty starts', 'virsh start hooked'),
          asking('dirty is restored', 'virsh restore saved'),
          'cp complete "$stamp"',
          asking('complete is restored', 'virsh restore saved'),
          'virsh destroy hooked',
          'rm "$stamp"',
          `printf 'db/vdb\\t%s\\n' '${image}' >image-locks`,
          asking('listed starts', 'virsh start hooked'),
        ])
        const answers = [...output.matchAll(/^(.*): (yes|no)$/gm)].map(([line]) => line)
        expect(answers, output).toEqual([
          'complete starts: yes',
          'complete is saved: yes',
          'dirty starts: no',
          'dirty is restored: no',
          'complete is restored: yes',
          'listed starts: no',
        ])
        expect(output).toContain(
          `image ${image} may lack writes, which the cache of host kvm07 holds for disk web01/vda`,
        )
        expect(output).toContain('    vmcache cache detach web01/vda')
        expect(output).toContain('which the cache of this host holds for disk db/vdb')
      },
    )
  })
})

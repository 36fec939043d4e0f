import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { run } from '../processes.js'
import { findProgram } from '../programs.js'
import { archive, type Entry } from './cpio.js'
import type { GuestKernel } from './kernel.js'

/**
 * The guest's first and only process. Over the port it gets lines `ID BASE64-OF-A-SCRIPT` and answers each line of
 * output as `ID |LINE`, the end as `ID =EXIT-CODE`. Scripts run side by side. While nobody is at the other end of the port it waits.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
until ls /dev/vport*p1 2>/dev/null; do usleep 10000; done
exec 3<>$(ls /dev/vport*p1)
echo '0 =0' >&3
while :; do
  while read -r id script; do
    echo "$script" | base64 -d > /tmp/script.$id
    {
      { sh /tmp/script.$id 2>&1 3>&-; echo "=$?" > /tmp/end.$id; } | while IFS= read -r line; do printf '%s |%s\\n' $id "$line" >&3; done
      printf '%s %s\\n' $id "$(cat /tmp/end.$id)" >&3
    } </dev/null &
  done <&3
  usleep 100000
done
`

/** An initramfs with busybox, the kernel's modules and the given programs of this machine with their libraries. */
export async function initramfs(kernel: GuestKernel, programs: readonly string[]): Promise<Buffer> {
  const files = new Map<string, Entry>()
  const add = (name: string, mode: number, bytes: Buffer): void => void files.set(name, { name, mode, bytes })
  for (const directory of ['bin', 'dev', 'lib', 'lib64', 'mnt', 'modules', 'proc', 'sbin', 'sys', 'tmp']) {
    add(directory, 0o040755, Buffer.alloc(0))
  }
  add('init', 0o100755, Buffer.from(INIT))
  add('modules/order', 0o100644, Buffer.from(kernel.modules.map(({ name }) => name).join('\n')))
  for (const { name, bytes } of kernel.modules) add(`modules/${name}.ko`, 0o100644, bytes)
  for (const program of ['busybox', ...programs]) {
    const path = findProgram(program)
    if (path === null) throw new Error(`${program} is not installed`)
    add(program === 'busybox' ? 'bin/busybox' : `sbin/${program}`, 0o100755, await readFile(path))
    for (const library of await librariesOf(path)) {
      add(
        library.startsWith('/lib64/') ? library.slice(1) : `lib/${basename(library)}`,
        0o100755,
        await readFile(library),
      )
    }
  }
  return archive([...files.values()])
}

/** Shared libraries that a program loads, as `ldd` says; none for a static one. */
async function librariesOf(program: string): Promise<string[]> {
  const { code, stdout } = await run('ldd', [program])
  return code === 0 ? [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!) : []
}

/**
 * test/support/guest/: a real guest for tests and the quickstart: a Debian cloud kernel with an initramfs of busybox,
 * run by QEMU in software emulation, that takes commands over a virtio-serial port. It boots in a few seconds.
 *
 * The kernel comes out of the Debian package, which is downloaded and unpacked into a cache directory, never installed.
 */
import { access, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { must, run } from '../processes.js'
import { findProgram } from '../programs.js'
import programs from '../programs.json' with { type: 'json' }

const META_PACKAGE = 'linux-image-cloud-amd64'

/** What the guest needs of the kernel; what is built in needs no module. */
const WANTED_MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'ext4']

export interface GuestKernel {
  /** Path of the kernel image. */
  readonly image: string
  /** Modules in the order in which they load. */
  readonly modules: readonly { readonly name: string; readonly bytes: Buffer }[]
}

const NEEDED = ['qemu-system-x86_64', 'busybox', 'mke2fs', 'xz'] as const

/** Why no guest can run here, or null: what is missing of QEMU, the guest's programs, a file system and the kernel. */
export async function whyNoGuest(): Promise<string | null> {
  if (process.arch !== 'x64') return `guests need x64, this is ${process.arch}`
  const absent = NEEDED.filter((program) => findProgram(program) === null)
  if (absent.length > 0) {
    const packages = absent.map((program) => programs[program].package)
    return `${absent.join(', ')} not installed; as root: apt-get install ${packages.join(' ')}`
  }
  try {
    await unpackedPackage()
    return null
  } catch (error) {
    return `no kernel for the guest: ${error instanceof Error ? error.message : String(error)}`.split('\n')[0]!
  }
}

/** The guest's kernel; downloads its package where that has not been done yet. */
export async function guestKernel(): Promise<GuestKernel> {
  const directory = await unpackedPackage()
  const [image] = (await readdir(join(directory, 'boot'))).filter((name) => name.startsWith('vmlinuz-'))
  const library = await existing([join(directory, 'lib', 'modules'), join(directory, 'usr', 'lib', 'modules')])
  const tree = join(library, (await readdir(library))[0]!)
  return { image: join(directory, 'boot', image!), modules: await modulesOf(tree) }
}

/** The directory with the unpacked kernel package. Concurrent callers are safe: it is renamed into place. */
async function unpackedPackage(): Promise<string> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'vmcache-test')
  const unpacked = join(cache, 'kernel')
  if (await exists(unpacked)) return unpacked
  for (const program of ['apt-get', 'apt-cache', 'dpkg']) {
    if (findProgram(program) === null) throw new Error(`${program} is needed to fetch ${META_PACKAGE}`)
  }
  const fresh = join(cache, `kernel.${process.pid}`)
  await mkdir(fresh, { recursive: true })
  try {
    await download(fresh)
    const [archive] = (await readdir(fresh)).filter((name) => name.endsWith('.deb'))
    await must('dpkg', ['-x', join(fresh, archive!), fresh])
    await rm(join(fresh, archive!))
    await rename(fresh, unpacked)
  } catch (error) {
    await rm(fresh, { recursive: true, force: true })
    if (!(await exists(unpacked))) throw error
  }
  return unpacked
}

async function download(directory: string): Promise<void> {
  const attempt = async (): Promise<boolean> => {
    const depends = await run('apt-cache', ['depends', META_PACKAGE])
    const name = /Depends: (linux-image-\d\S*)/.exec(depends.stdout)?.[1]
    if (name === undefined) return false
    const options = { cwd: directory, timeoutMilliseconds: 300_000 }
    return (await run('apt-get', ['-q', 'download', name], options)).code === 0
  }
  if (await attempt()) return
  if (process.getuid?.() === 0) await run('apt-get', ['-q', 'update'], { timeoutMilliseconds: 300_000 })
  if (!(await attempt())) throw new Error(`the Debian package ${META_PACKAGE} cannot be downloaded`)
}

/** The wanted modules and what they depend on, dependencies first. */
async function modulesOf(tree: string): Promise<{ name: string; bytes: Buffer }[]> {
  const builtIn = new Set((await readFile(join(tree, 'modules.builtin'), 'utf8')).split('\n').map(moduleName))
  const paths = new Map<string, string>()
  for (const path of await readdir(join(tree, 'kernel'), { recursive: true })) {
    if (/\.ko(\.\w+)?$/.test(path)) paths.set(moduleName(path), join(tree, 'kernel', path))
  }
  const loaded = new Map<string, Buffer>()
  const load = async (name: string): Promise<void> => {
    if (loaded.has(name) || builtIn.has(name)) return
    const path = paths.get(name)
    if (path === undefined) throw new Error(`the kernel has no module ${name}`)
    const bytes = await readModule(path)
    for (const dependency of dependenciesOf(bytes)) await load(dependency)
    loaded.set(name, bytes)
  }
  for (const name of WANTED_MODULES) await load(name)
  return [...loaded].map(([name, bytes]) => ({ name, bytes }))
}

async function readModule(path: string): Promise<Buffer> {
  if (path.endsWith('.ko')) return readFile(path)
  const plain = path.replace(/\.xz$/, '')
  if (!(await exists(plain))) await must('xz', ['-d', '-k', path])
  return readFile(plain)
}

/** What a module says in its `.modinfo` section: zero-terminated `key=value` strings. */
function dependenciesOf(module: Buffer): string[] {
  const start = module.indexOf('\0depends=') + '\0depends='.length
  if (start < '\0depends='.length) return []
  return module
    .toString('latin1', start, module.indexOf(0, start))
    .split(',')
    .filter((name) => name !== '')
}

/** `kernel/fs/ext4/ext4.ko.xz` -> `ext4`; the kernel takes `-` and `_` for the same. */
function moduleName(path: string): string {
  return path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.\w+)?$/, '')
    .replaceAll('-', '_')
}

async function existing(paths: readonly string[]): Promise<string> {
  for (const path of paths) if (await exists(path)) return path
  throw new Error(`none of ${paths.join(', ')} is there`)
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/**
 * What bin/check and bin/quickstart share before anything is installed: only Node.js itself may be imported here.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** Throws where this Node.js is too old, naming what is asked for. */
export function requireNode() {
  const wanted = readJson('package.json').engines.node
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [leastMajor, leastMinor] = wanted.match(/\d+/g).map(Number)
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return
  throw new Error(`vmcache needs Node.js ${wanted}, this is ${process.versions.node} (${process.execPath})`)
}

/** Runs `npm ci` where node_modules lacks a package of the lock file or has another version of it. */
export function installNpmPackages(say) {
  const stale = stalePackage()
  if (stale === null) return
  if (!hasProgram('npm')) installDebianPackages(['npm'], say)
  say(`npm ci: ${stale}; this takes about half a minute`)
  const { status, error } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  })
  if (status !== 0) throw new Error(`npm ci failed${error ? `: ${error.message}` : ''}`)
}

/** Why `npm ci` is needed, or null. */
function stalePackage() {
  const installedFile = join('node_modules', '.package-lock.json')
  if (!existsSync(join(root, installedFile))) return 'node_modules is not there'
  const installed = readJson(installedFile).packages
  for (const [path, { version, optional }] of Object.entries(readJson('package-lock.json').packages)) {
    if (path === '' || (optional && !(path in installed))) continue
    if (installed[path]?.version !== version) return `${path} ${version} is not installed`
  }
  return null
}

/** Whether this process may install Debian packages. */
export function mayInstallDebianPackages() {
  return process.getuid() === 0 && hasProgram('apt-get')
}

/** Installs Debian packages; throws with apt's words. */
export function installDebianPackages(packages, say) {
  if (!mayInstallDebianPackages()) {
    throw new Error(`${packages.join(', ')} not installed; as root: apt-get install ${packages.join(' ')}`)
  }
  say(`apt-get install ${packages.join(' ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...args) =>
    spawnSync('apt-get', ['-q', '-y', ...args], { env, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' })
  const install = () => apt('install', '--no-install-recommends', ...packages)
  if (install().status === 0) return
  apt('update')
  const { status, stderr } = install()
  if (status !== 0) throw new Error(`apt-get install failed\n${stderr}`)
}

/** Installs what is useful but not needed, where that is allowed; says why where it fails. */
export function tryDebianPackages(packages, say) {
  if (!mayInstallDebianPackages()) return
  try {
    installDebianPackages(packages, say)
  } catch (error) {
    say(error.message)
  }
}

/** Where Debian keeps programs that are not on everybody's PATH. */
const FURTHER_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin']

export function hasProgram(name) {
  const directories = [...(process.env.PATH ?? '').split(delimiter), ...FURTHER_DIRECTORIES]
  if (directories.some((directory) => existsSync(join(directory, name)))) return true
  return name === 'postgres' && existsSync('/usr/lib/postgresql')
}

/** Foreign programs of the tests that are not installed: name -> {package, needed}. */
export function missingPrograms() {
  return Object.entries(readJson('test/support/programs.json')).filter(([name]) => !hasProgram(name))
}

export function readJson(name) {
  return JSON.parse(readFileSync(join(root, name), 'utf8'))
}

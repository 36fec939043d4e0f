import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { messageOf, systemCode, VmcacheError } from '../base/errors.js'
import { makeDirectories } from '../protocol/control/make-directories.js'
import { groupId } from './groups.js'
import { LIBVIRT_HOOK } from './libvirt-hook.js'
import { MARK } from './mark.js'
import {
  CONTROL_GROUP,
  ENGINE_UNIT,
  serviceFiles,
  SUPERVISOR_UNIT,
  type ServiceFile,
  type ServiceProgram,
} from './service-files.js'

/** One thing that an installation does; `text` says what, before and after. */
export interface InstallStep {
  readonly text: string
  apply(): Promise<void>
}

export interface InstallOptions {
  /** `/`, or the root of another system: then only files are laid down or removed, and nothing is run. */
  readonly root: string
  /** Whether systemd runs this machine, as sd_booted(3) finds out. */
  readonly hasSystemd: boolean
  /** Runs a program that must succeed. */
  readonly run: (program: string, args: readonly string[]) => Promise<void>
}

/** This vmcache, for an engine that keeps its state in `stateDir`. */
export function thisProgram(stateDir: string): ServiceProgram {
  return { node: process.execPath, daemon: fileURLToPath(new URL('./main.js', import.meta.url)), stateDir }
}

/** libvirt reads its hooks when it starts and when it is told to; guests do not notice. */
const RELOAD_LIBVIRT =
  'for unit in libvirtd virtqemud; do ! systemctl --quiet is-active $unit || systemctl reload $unit || exit; done'

const execute = promisify(execFile)

/** This machine. */
export const THIS_MACHINE: InstallOptions = {
  root: '/',
  hasSystemd: existsSync('/run/systemd/system'),
  async run(program, args) {
    try {
      await execute(program, [...args])
    } catch (error) {
      throw new VmcacheError('FAILED', `${[program, ...args].join(' ')} failed: ${messageOf(error)}`, { cause: error })
    }
  },
}

/**
 * What is missing of the service, in the order in which to do it; nothing where all of it is there. WRONG_STATE where
 * this machine has no systemd.
 */
export async function installSteps(options: InstallOptions, program: ServiceProgram): Promise<InstallStep[]> {
  const missing: ServiceFile[] = []
  for (const file of serviceFiles(program)) if ((await oursAt(options.root, file)) !== file.text) missing.push(file)
  const steps = missing.map((file) => writing(options.root, file))
  if (options.root !== '/') return steps
  const isGrouped = groupId(CONTROL_GROUP) !== null
  if (!isGrouped) steps.push(running(options, 'systemd-sysusers', ['vmcache.conf']))
  if (steps.length === 0) return steps
  if (!options.hasSystemd) {
    throw new VmcacheError('WRONG_STATE', 'this machine is not run by systemd: expected /run/systemd/system', {
      hint: '"vmcache engine start" needs no service; --root DIR lays the files down for another system',
    })
  }
  return [
    ...steps,
    running(options, 'systemd-tmpfiles', ['--create', 'vmcache.conf']),
    running(options, 'systemctl', ['daemon-reload']),
    running(options, 'systemctl', ['enable', ENGINE_UNIT]),
    ...reloadingLibvirt(options, missing),
  ]
}

/** What there is of the service, in the order in which to remove it. The state directory stays: it knows the caches. */
export async function uninstallSteps(options: InstallOptions, program: ServiceProgram): Promise<InstallStep[]> {
  const present: ServiceFile[] = []
  for (const file of serviceFiles(program)) if ((await oursAt(options.root, file)) !== null) present.push(file)
  const removals = present.map((file) => removing(options.root, file))
  if (options.root !== '/') return removals
  const group = groupId(CONTROL_GROUP) === null ? [] : [running(options, 'groupdel', [CONTROL_GROUP])]
  if (removals.length === 0) return group
  if (!options.hasSystemd) return [...removals, ...group]
  return [
    running(options, 'systemctl', ['disable', '--now', ENGINE_UNIT, SUPERVISOR_UNIT]),
    ...removals,
    running(options, 'systemctl', ['daemon-reload']),
    ...reloadingLibvirt(options, present),
    ...group,
  ]
}

/** Does the steps one after the other; the first that fails ends it, and doing all again goes on from there. */
export async function applySteps(steps: readonly InstallStep[]): Promise<void> {
  for (const step of steps) {
    try {
      await step.apply()
    } catch (error) {
      if (error instanceof VmcacheError) throw error
      const code = ['EACCES', 'EPERM', 'EROFS'].includes(systemCode(error) ?? '') ? 'DENIED' : 'FAILED'
      throw new VmcacheError(code, `cannot ${step.text}: ${messageOf(error)}`, { hint: 'run it as root', cause: error })
    }
  }
}

/** The text of our file where it is already there, null where there is none. REFUSED for somebody else's. */
async function oursAt(root: string, file: ServiceFile): Promise<string | null> {
  const path = join(root, file.path)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  })
  if (text === null || text.split('\n').slice(0, 2).includes(MARK)) return text
  throw new VmcacheError('REFUSED', `${path} was not made by vmcache: expected none, or one that says so`, {
    hint: 'move it away, or turn it into a drop-in',
  })
}

function writing(root: string, file: ServiceFile): InstallStep {
  const path = join(root, file.path)
  return {
    text: `write ${path}`,
    async apply() {
      makeDirectories(dirname(path), 0o755)
      await writeFile(path, file.text, { mode: file.mode })
      await chmod(path, file.mode)
    },
  }
}

function removing(root: string, file: ServiceFile): InstallStep {
  const path = join(root, file.path)
  return { text: `remove ${path}`, apply: () => rm(path, { force: true }) }
}

function reloadingLibvirt(options: InstallOptions, changed: readonly ServiceFile[]): InstallStep[] {
  return changed.some(({ path }) => path === LIBVIRT_HOOK) ? [running(options, 'sh', ['-c', RELOAD_LIBVIRT])] : []
}

function running({ run }: InstallOptions, program: string, args: readonly string[]): InstallStep {
  return { text: `run ${[program, ...args].join(' ')}`, apply: () => run(program, args) }
}

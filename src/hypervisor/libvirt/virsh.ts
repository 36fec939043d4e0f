import { execa } from 'execa'
import { VmcacheError } from '../../base/errors.js'
import { fitsShell, openVirshShell, type Undone, type VirshOutcome, type VirshShell } from './virsh-shell.js'

export interface Virsh {
  /**
   * What it prints. VM_NOT_FOUND, WRONG_STATE, or HYPERVISOR with its words: those of the C locale, whatever the engine's is; with
   * `details.timeout` where it does not end in time.
   */
  run(uri: string, words: readonly string[], milliseconds?: number): Promise<string>
  /** Ends what runs. */
  close(): void
}

const COMMAND_MILLISECONDS = 10_000
/** What virsh itself takes. */
const MARGIN_MILLISECONDS = 2000
/** Of a connection, at once: others wait. A VM that hangs keeps one busy until the time of its command is over. */
const SHELLS = 16
/** Of a connection, while nobody asks. */
const IDLE_SHELLS = 4

const ENVIRONMENT = { LC_ALL: 'C' }

interface Connection {
  readonly idle: VirshShell[]
  readonly waiting: (() => void)[]
  open: number
}

export function createVirsh(): Virsh {
  const connections = new Map<string, Connection>()
  const shells = new Set<VirshShell>()

  async function shellOf(uri: string, connection: Connection): Promise<VirshShell> {
    if (connection.open >= SHELLS) await new Promise<void>((resolve) => connection.waiting.push(resolve))
    connection.open++
    for (let shell = connection.idle.pop(); shell !== undefined; shell = connection.idle.pop()) {
      if (shell.isGood) return shell
      giveUp(shell)
    }
    const shell = openVirshShell(uri, ENVIRONMENT)
    shells.add(shell)
    return shell
  }

  function giveBack(connection: Connection, shell: VirshShell): void {
    connection.open--
    if (shell.isGood && connection.idle.length < IDLE_SHELLS) connection.idle.push(shell)
    else giveUp(shell)
    connection.waiting.shift()?.()
  }

  function giveUp(shell: VirshShell): void {
    shells.delete(shell)
    shell.end()
  }

  async function inShell(uri: string, words: readonly string[], milliseconds: number): Promise<VirshOutcome | Undone> {
    const connection = connections.get(uri) ?? { idle: [], waiting: [], open: 0 }
    connections.set(uri, connection)
    const shell = await shellOf(uri, connection)
    try {
      return await shell.run(words, milliseconds)
    } finally {
      giveBack(connection, shell)
    }
  }

  return {
    async run(uri, words, milliseconds = COMMAND_MILLISECONDS) {
      const limit = milliseconds + MARGIN_MILLISECONDS
      const outcome = fitsShell(words) ? await inShell(uri, words, limit) : await alone(uri, words, limit)
      if (typeof outcome === 'string') throw undone(words, outcome)
      if (outcome.stderr !== '') throw virshError(words, outcome.stderr)
      return outcome.stdout
    },
    close() {
      for (const shell of shells) giveUp(shell)
    },
  }
}

/** In a process of its own. */
async function alone(uri: string, words: readonly string[], milliseconds: number): Promise<VirshOutcome | Undone> {
  const options = { stdin: 'ignore', timeout: milliseconds, env: ENVIRONMENT, reject: false } as const
  const { code, exitCode, stdout, stderr, timedOut } = await execa('virsh', ['-q', '-c', uri, ...words], options)
  if (code === 'ENOENT') return 'not installed'
  return timedOut ? 'late' : { stdout, stderr: exitCode === 0 ? '' : stderr || 'virsh has ended' }
}

function undone([command]: readonly string[], why: Undone): VmcacheError {
  if (why === 'late') {
    return new VmcacheError('HYPERVISOR', `virsh ${command} does not end in time`, { details: { timeout: true } })
  }
  return new VmcacheError('HYPERVISOR', 'virsh is not installed', {
    hint: 'install the clients of libvirt, for example: apt-get install libvirt-clients',
  })
}

function virshError([command]: readonly string[], stderr: string): VmcacheError {
  const words = stderr
    .trim()
    .replace(/^error: /gm, '')
    .replace(/\s*\n\s*/g, ': ')
  if (/failed to get domain|Domain not found/i.test(words)) return new VmcacheError('VM_NOT_FOUND', words)
  if (/domain is not running|is already active/.test(words)) return new VmcacheError('WRONG_STATE', words)
  return new VmcacheError('HYPERVISOR', `virsh ${command} fails: ${words}`)
}

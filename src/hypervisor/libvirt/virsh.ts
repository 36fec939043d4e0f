import { execa } from 'execa'
import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'
import { VmcacheError } from '../../base/errors.js'
import { fitsShell, openVirshShell, type Undone, type VirshOutcome, type VirshShell } from './virsh-shell.js'

export interface Virsh {
  /**
   * What it prints, without the end of its last line. VM_NOT_FOUND, WRONG_STATE, or HYPERVISOR with its words: those of the C locale, whatever the engine's is; with
   * `details.timeout` where it does not end in time. `limit`: milliseconds, or what ends it.
   */
  run(uri: string, words: readonly string[], limit?: number | AbortSignal): Promise<string>
  /** Ends what runs. */
  close(): void
}

const COMMAND_MILLISECONDS = 10_000
/** What virsh itself takes. */
const MARGIN_MILLISECONDS = 2000
/** Of a connection, at once: others wait. A VM that hangs keeps one busy until the time of its command is over. */
const SHELLS = 16
/** To start a process takes longer than to wait for an answer, and everything else waits meanwhile. */
const BUSY_MILLISECONDS = 50
/** Of a connection, while nobody asks. */
const IDLE_SHELLS = 4

const ENVIRONMENT = { LC_ALL: 'C' }

interface Connection {
  readonly idle: VirshShell[]
  readonly waiting: ((shell: VirshShell) => void)[]
  /** All that run, also those that are busy. */
  readonly shells: Set<VirshShell>
  isOpening: boolean
}

export function createVirsh(clock: Clock, random: Random): Virsh {
  const connections = new Map<string, Connection>()

  function connectionTo(uri: string): Connection {
    const connection = connections.get(uri) ?? { idle: [], waiting: [], shells: new Set(), isOpening: false }
    connections.set(uri, connection)
    return connection
  }

  /** One that is idle, or the first that is free. */
  function take(uri: string, connection: Connection): Promise<VirshShell> {
    for (let shell = connection.idle.pop(); shell !== undefined; shell = connection.idle.pop()) {
      if (shell.isGood) return Promise.resolve(shell)
      giveUp(connection, shell)
    }
    return new Promise((resolve) => {
      connection.waiting.push(resolve)
      openMore(uri, connection)
    })
  }

  /** The first at once; others when those that are there are busy for long. */
  function openMore(uri: string, connection: Connection): void {
    const { shells, waiting } = connection
    if (connection.isOpening || waiting.length === 0 || shells.size >= SHELLS) return
    connection.isOpening = true
    if (shells.size === 0) return open(uri, connection)
    clock.after(BUSY_MILLISECONDS, () => {
      if (waiting.length > 0) return open(uri, connection)
      connection.isOpening = false
    })
  }

  function open(uri: string, connection: Connection): void {
    const { shells } = connection
    const shell = openVirshShell({ uri, environment: ENVIRONMENT, clock, random })
    shells.add(shell)
    void shell.run(['echo'], MARGIN_MILLISECONDS).then(() => {
      connection.isOpening = false
      // Whoever waits hears from it what is wrong with it.
      give(connection, shell)
      openMore(uri, connection)
    })
  }

  function give(connection: Connection, shell: VirshShell): void {
    const next = connection.waiting.shift()
    if (next !== undefined) next(shell)
    else if (shell.isGood && connection.idle.length < IDLE_SHELLS) connection.idle.push(shell)
    else giveUp(connection, shell)
  }

  function giveUp({ shells }: Connection, shell: VirshShell): void {
    shells.delete(shell)
    shell.end()
  }

  async function inShell(uri: string, words: readonly string[], milliseconds: number): Promise<VirshOutcome | Undone> {
    const connection = connectionTo(uri)
    const shell = await take(uri, connection)
    try {
      return await shell.run(words, milliseconds)
    } finally {
      if (shell.isGood) give(connection, shell)
      else giveUp(connection, shell)
      openMore(uri, connection)
    }
  }

  return {
    async run(uri, words, limit = COMMAND_MILLISECONDS) {
      const outcome =
        typeof limit === 'number' && fitsShell(words)
          ? await inShell(uri, words, limit + MARGIN_MILLISECONDS)
          : await alone(uri, words, limit)
      if (typeof outcome === 'string') throw undone(words, outcome)
      if (outcome.stderr !== '') throw virshError(words, outcome.stderr)
      return outcome.stdout.replace(/\n+$/, '')
    },
    close() {
      for (const { shells } of connections.values()) for (const shell of shells) shell.end()
    },
  }
}

/** In a process of its own. */
async function alone(
  uri: string,
  words: readonly string[],
  limit: number | AbortSignal,
): Promise<VirshOutcome | Undone> {
  const { code, exitCode, stdout, stderr, timedOut, isCanceled } = await execa('virsh', ['-q', '-c', uri, ...words], {
    ...(typeof limit === 'number' ? { timeout: limit + MARGIN_MILLISECONDS } : { cancelSignal: limit }),
    stdin: 'ignore',
    env: ENVIRONMENT,
    reject: false,
  })
  if (code === 'ENOENT') return 'not installed'
  return timedOut || isCanceled ? 'late' : { stdout, stderr: exitCode === 0 ? '' : stderr || 'virsh has ended' }
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

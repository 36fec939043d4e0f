import { execa } from 'execa'
import type { Clock } from '../../base/clock.js'
import type { Random } from '../../base/random.js'

export interface VirshOutcome {
  readonly stdout: string
  /** Lines that begin with `error: `; empty where it did what it was told. */
  readonly stderr: string
}

/** A command that is not done in time, or that nobody can do. */
export type Undone = 'late' | 'not installed'

/** A virsh that stays connected and takes one command after the other: each costs a millisecond, where a process of its own costs twenty. */
export interface VirshShell {
  /** One at a time. */
  run(words: readonly string[], milliseconds: number): Promise<VirshOutcome | Undone>
  /** False where it has ended, has not done something in time, or has said something while nobody asked: it has lost its connection. */
  readonly isGood: boolean
  end(): void
}

/** What a shell can be told: its line editor takes other characters for keys. */
export function fitsShell(words: readonly string[]): boolean {
  return words.every((word) => /^[\x20-\x7e]*$/.test(word))
}

export interface VirshShellOptions {
  readonly uri: string
  /** Of the process, besides that of the engine. */
  readonly environment: Readonly<Record<string, string>>
  readonly clock: Clock
  /** What virsh prints is told apart by marks that nobody knows: names that others gave are in it. */
  readonly random: Random
}

export function openVirshShell({ uri, environment, clock, random }: VirshShellOptions): VirshShell {
  const child = execa('virsh', ['-q', '-c', uri], {
    buffer: false,
    reject: false,
    env: { ...environment, TERM: 'dumb', VIRSH_HISTSIZE: '0' },
  })
  const mark = random.id()
  const said = { stdout: '', stderr: '' }
  let commands = 0
  let look: (() => void) | null = null
  let isGood = true
  let ended: VirshOutcome | Undone | null = null
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] += text
      if (look !== null) look()
      else if (name === 'stderr') isGood = false
    })
  }
  child.stdin.on('error', () => {})
  void child.then(({ code }) => {
    isGood = false
    ended = code === 'ENOENT' ? 'not installed' : { stdout: '', stderr: said.stderr || 'virsh has ended' }
    look?.()
  })

  /** What was said between the marks of the command; null where it has not been said yet. */
  const answer = (name: keyof typeof said): string | null => {
    const [, text, rest] = said[name].split(`${mark}-${commands}`)
    return rest === undefined ? null : text!
  }
  const outcome = (): VirshOutcome | Undone | null => {
    const [stdout, stderr] = [answer('stdout'), answer('stderr')]
    // Where it says its marks among errors it calls them so.
    return stdout === null || stderr === null ? ended : { stdout, stderr: stderr.replace(/error: $/, '').trim() }
  }

  return {
    get isGood() {
      return isGood
    },
    run: (words, milliseconds) =>
      new Promise((resolve) => {
        if (ended !== null) return resolve(ended)
        commands++
        said.stdout = said.stderr = ''
        const done = (result: VirshOutcome | Undone): void => {
          look = null
          cancel()
          if (result === 'late') isGood = false
          resolve(result)
        }
        const cancel = clock.after(milliseconds, () => done('late'))
        look = () => {
          const result = outcome()
          if (result !== null) done(result)
        }
        // Its line editor repeats the line, but not in one piece what is written in two.
        const place = `${mark.slice(0, 8)}""${mark.slice(8)}-${commands}`
        const places = `echo ${place}; echo --err ${place}`
        child.stdin.write(`${places}; ${words.map(quoted).join(' ')}; ${places}\n`)
        look()
      }),
    end() {
      isGood = false
      child.kill('SIGKILL')
    },
  }
}

/** A word for virsh, which reads quotes as sh does. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}

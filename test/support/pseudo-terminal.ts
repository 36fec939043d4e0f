import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { stripVTControlCharacters } from 'node:util'
import { until } from './processes.js'

/** A program on a terminal of 100 columns, driven by what it says. */
export class PseudoTerminal {
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown[]>
  #text = ''
  #read = 0

  /** `script` is the program of util-linux; `command` is a line for the shell. */
  constructor(script: string, command: string, options: { cwd: string; env: Readonly<Record<string, string>> }) {
    const line = `stty cols 100 rows 40; exec ${command}`
    this.#child = spawn(script, ['--quiet', '--return', '--flush', '--command', line, '/dev/null'], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env, TERM: 'xterm' },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#ended = once(this.#child, 'close')
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#text += text))
  }

  /** All that was shown, without colours and movements. */
  get text(): string {
    return stripVTControlCharacters(this.#text).replaceAll('\r', '')
  }

  /** The same as the terminal got it. */
  get raw(): string {
    return this.#text
  }

  /** Waits until `prompt` is shown after what was answered before, then types `keys`. */
  async answer(prompt: string, keys: string): Promise<void> {
    await until(`"${prompt}" in:\n${this.text}`, () => this.text.includes(prompt, this.#read))
    this.#read = this.text.length
    this.#child.stdin!.write(keys)
  }

  /** Waits for the end; the exit code. */
  async end(): Promise<number | null> {
    const [code] = await this.#ended
    return code as number | null
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

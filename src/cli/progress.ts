import type { Ora } from 'ora'
import { formatSize } from '../base/units.js'
import type { JobDocument } from '../protocol/control/documents.js'

/** What is waited for, and how far it is: a job of the engine, or the work of a command that needs none. */
export type Underway = Pick<JobDocument, 'kind' | 'object' | 'progress'>

/** Shows what is waited for. */
export interface ProgressDisplay {
  update(work: Underway): void
  stop(): Promise<void>
}

const NOTHING: ProgressDisplay = { update: () => {}, stop: async () => {} }

/** A spinner on a terminal, nothing elsewhere. */
export function progressDisplay(stream: NodeJS.WriteStream, options: { quiet: boolean }): ProgressDisplay {
  return stream.isTTY && !options.quiet ? new Spinner(stream) : NOTHING
}

class Spinner implements ProgressDisplay {
  readonly #stream: NodeJS.WriteStream
  #ora: Promise<Ora> | null = null
  #text = ''
  #stopped = false

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  update(work: Underway): void {
    this.#text = progressText(work)
    this.#ora ??= import('ora').then(({ default: ora }) => {
      const spinner = ora({ text: this.#text, stream: this.#stream, discardStdin: false })
      return this.#stopped ? spinner : spinner.start()
    })
    void this.#ora.then((spinner) => (spinner.text = this.#text))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    const spinner = await this.#ora
    spinner?.stop()
  }
}

/** `disk.flush of disk web01/vda: 300 MB of 1.2 GB (25 %)`. */
export function progressText({ kind, object, progress }: Underway): string {
  const what = `${kind} of ${object}`
  return progress === null ? what : `${what}: ${amountText(progress)}`
}

/** `300 MB of 1.2 GB (25 %)`, `12 of 40 chunks (30 %)`, `7 items, reading`. */
export function amountText({ done, total, unit, note }: NonNullable<JobDocument['progress']>): string {
  const amount = (value: number): string => (unit === 'bytes' ? formatSize(value) : String(value))
  const share = total === null || total === 0 ? '' : ` (${Math.floor((100 * done) / total)} %)`
  const numbers = total === null ? amount(done) : `${amount(done)} of ${amount(total)}`
  return `${numbers}${unit === 'bytes' ? '' : ` ${unit}`}${share}${note === null ? '' : `, ${note}`}`
}

import type { Ora } from 'ora'
import { formatSize } from '../base/units.js'
import type { JobDocument } from '../protocol/control/documents.js'

/** Shows what is waited for. */
export interface ProgressDisplay {
  update(job: JobDocument): void
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

  update(job: JobDocument): void {
    this.#text = progressText(job)
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

/** `disk.flush of disk web01/vda: 1.2 GB of 4 GB (30 %), second pass`. */
export function progressText(job: JobDocument): string {
  const what = `${job.kind} of ${job.object}`
  if (job.progress === null) return what
  const { done, total, unit, note } = job.progress
  const amount = (value: number): string => (unit === 'bytes' ? formatSize(value) : `${value} ${unit}`)
  const share = total === null || total === 0 ? '' : ` of ${amount(total)} (${Math.floor((100 * done) / total)} %)`
  return `${what}: ${total === null ? amount(done) : unit === 'bytes' ? amount(done) : String(done)}${share}${note === null ? '' : `, ${note}`}`
}

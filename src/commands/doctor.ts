import { VmcacheError } from '../base/errors.js'
import { VmcacheCommand } from '../cli/base-command.js'
import { doctorText } from '../cli/views/doctor-view.js'
import type { DoctorCheck } from '../protocol/control/documents.js'

export default class Doctor extends VmcacheCommand {
  static override summary = 'Find what is wrong on this machine, and name the command that mends it.'
  static override description = 'Ends with 1 when a check fails. Warnings and skipped checks are no failures.'
  static override examples = [
    '<%= config.bin %> doctor',
    {
      description: 'Only what failed',
      command: '<%= config.bin %> doctor --json | jq \'.checks[] | select(.state == "failure")\'',
    },
  ]

  async run(): Promise<{ checks: DoctorCheck[] }> {
    await this.parse(Doctor)
    const checks = await this.#checks()
    const failed = checks.filter(({ state }) => state === 'failure')
    const error =
      failed.length === 0
        ? null
        : new VmcacheError('DOCTOR_FAILED', `${failed.length} of ${checks.length} checks failed`, {
            details: { failed: failed.map(({ id }) => id) },
          })
    return this.printWithError({ checks }, error, (screen) => doctorText(checks, screen))
  }

  /** The engine's checks; where none runs, that is the finding. */
  async #checks(): Promise<DoctorCheck[]> {
    try {
      return (await this.ask('doctor.run', {})).checks
    } catch (error) {
      if (!(error instanceof VmcacheError) || error.code !== 'ENGINE_UNAVAILABLE') throw error
      return [
        {
          id: 'engine',
          state: 'failure',
          object: 'this host',
          seen: error.message,
          expected: 'a running engine',
          mend: 'vmcache engine start',
        },
      ]
    }
  }
}

import { parseArgs } from 'node:util'
import { messageOf, VmcacheError } from '../base/errors.js'

/** What a supervisor is started with, and passes on to its engines. */
export interface DaemonArguments {
  readonly flags: Readonly<Record<string, string>>
  readonly user: boolean
}

/** The arguments of `main.js`: `--config`, `--state-dir`, `--run-dir`, `--user`. USAGE for anything else. */
export function daemonArguments(argv: readonly string[], environment: NodeJS.ProcessEnv): DaemonArguments {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        config: { type: 'string' },
        'state-dir': { type: 'string' },
        'run-dir': { type: 'string' },
        user: { type: 'boolean', default: ['1', 'true'].includes(environment['VMCACHE_USER'] ?? '') },
      },
    })
    const { user, ...flags } = values
    return { flags, user }
  } catch (error) {
    throw new VmcacheError('USAGE', messageOf(error), { cause: error })
  }
}

import { execa } from 'execa'
import { VmcacheError } from '../../base/errors.js'
import type { VmIdentity } from '../driver.js'

/** Where domains are, for those of which nobody said anything else. */
export const DEFAULT_CONNECTION = 'qemu:///system'

export const COMMAND_MILLISECONDS = 10_000
/** What virsh itself takes. */
const MARGIN_MILLISECONDS = 2000

export type Where = Pick<VmIdentity, 'connect'>

export function connectionOf({ connect }: Where): string {
  return connect ?? DEFAULT_CONNECTION
}

/** The output of virsh. Its words are those of the C locale, whatever the engine's is. `limit`: a time, or what ends it. */
export async function virsh(
  where: Where,
  args: readonly string[],
  limit: number | AbortSignal = COMMAND_MILLISECONDS,
): Promise<string> {
  try {
    const { stdout } = await execa('virsh', ['-q', '-c', connectionOf(where), ...args], {
      stdin: 'ignore',
      ...(typeof limit === 'number' ? { timeout: limit + MARGIN_MILLISECONDS } : { cancelSignal: limit }),
      env: { LC_ALL: 'C' },
    })
    return stdout
  } catch (error) {
    throw virshError(args, error)
  }
}

interface VirshFailure {
  readonly code?: string
  readonly stderr?: string
  readonly timedOut?: boolean
  readonly isCanceled?: boolean
}

function virshError(args: readonly string[], error: unknown): VmcacheError {
  const { code, stderr = '', timedOut, isCanceled } = error as VirshFailure
  const words = stderr
    .trim()
    .replace(/^error: /gm, '')
    .replace(/\s*\n\s*/g, ': ')
  if (code === 'ENOENT') {
    return new VmcacheError('HYPERVISOR', 'virsh is not installed', {
      hint: 'install the clients of libvirt, for example: apt-get install libvirt-clients',
      cause: error,
    })
  }
  if (timedOut === true || isCanceled === true) {
    return new VmcacheError('HYPERVISOR', `virsh ${args[0]} does not end in time`, { details: { timeout: true } })
  }
  if (/failed to get domain|Domain not found/i.test(words)) return new VmcacheError('VM_NOT_FOUND', words)
  if (/domain is not running|is already active/.test(words)) return new VmcacheError('WRONG_STATE', words)
  return new VmcacheError('HYPERVISOR', `virsh ${args[0]} fails: ${words}`, { cause: error })
}

import { readFile } from 'node:fs/promises'
import { messageOf, VmcacheError } from '../base/errors.js'
import type { Configuration } from '../model/configuration.js'

/** The password of the state database, for `openState`; BAD_CONFIG where its file cannot be read. */
export async function statePassword(values: Configuration): Promise<{ password?: string }> {
  const path = values['state-password-file']
  if (path === null) return {}
  try {
    return { password: (await readFile(path, 'utf8')).trimEnd() }
  } catch (error) {
    throw new VmcacheError('BAD_CONFIG', `state-password-file ${path} cannot be read: ${messageOf(error)}`)
  }
}

import { VmcacheError } from '../base/errors.js'

/** What a command needs and its command line does not tell. */
export function missing(command: string, names: readonly string[]): VmcacheError {
  return new VmcacheError('USAGE', `${command}: missing ${names.join(', ')}`, {
    hint: `see vmcache ${command} --help`,
    details: { missing: names },
  })
}

/** The same where a wizard asks for it on a terminal, and there is none. */
export function missingWithoutTerminal(command: string, names: readonly string[]): VmcacheError {
  return new VmcacheError('USAGE', `${command}: missing ${names.join(', ')}`, {
    hint: `give them, or be asked for them on a terminal; see vmcache ${command} --help`,
    details: { missing: names },
  })
}

import { VmcacheError } from '../base/errors.js'

/** What a command needs and neither flags nor, without a terminal, a wizard can tell. */
export function missing(command: string, names: readonly string[]): VmcacheError {
  return new VmcacheError('USAGE', `${command}: missing ${names.join(', ')}`, {
    hint: `give them, or run it on a terminal to be asked; see vmcache ${command} --help`,
    details: { missing: names },
  })
}

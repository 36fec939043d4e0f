import { Help as OclifHelp } from '@oclif/core/help'
import { VmcacheError } from '../base/errors.js'

/** The help of oclif; a topic without a verb is an error unless help was asked for. */
export default class Help extends OclifHelp {
  override async showHelp(argv: string[]): Promise<void> {
    const asked = argv.length === 0 || argv.some((word) => word === '--help' || word === '-h')
    if (asked) return super.showHelp(argv)
    const topic = argv[0]!.replaceAll(':', ' ')
    const verbs = this.sortedCommands
      .map(({ id }) => id.replaceAll(':', ' '))
      .filter((id) => id.startsWith(`${topic} `))
      .map((id) => id.slice(topic.length + 1))
    throw new VmcacheError('USAGE', `${topic}: what about it? One of ${verbs.join(', ')}`, {
      hint: `see vmcache ${topic} --help`,
      details: { missing: ['VERB'], verbs },
    })
  }
}

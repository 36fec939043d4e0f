import { CommandHelp as OclifCommandHelp, Help as OclifHelp } from '@oclif/core/help'
import type * as Interfaces from '@oclif/core/interfaces'
import { VmcacheError } from '../base/errors.js'

/** The help of one command; its usage names the command's own flags alone. */
class CommandHelp extends OclifCommandHelp {
  protected override defaultUsage(): string {
    const { command } = this
    const own = Object.entries(command.flags).filter(([, flag]) => flag.helpGroup === undefined)
    this.command = { ...command, flags: Object.fromEntries(own) }
    try {
      return super.defaultUsage()
    } finally {
      this.command = command
    }
  }
}

/** The help of oclif; a topic without a verb is an error unless help was asked for. */
export default class Help extends OclifHelp {
  protected override CommandHelpClass = CommandHelp

  constructor(config: Interfaces.Config, options: Partial<Interfaces.HelpOptions> = {}) {
    super(config, { ...options, hideCommandSummaryInDescription: true })
  }

  override async showHelp(argv: string[]): Promise<void> {
    const isAsked = argv.length === 0 || argv.some((word) => word === '--help' || word === '-h')
    if (isAsked) return super.showHelp(argv)
    const topic = argv[0]!.replaceAll(':', ' ')
    const verbs = this.sortedCommands
      .map(({ id }) => id.replaceAll(':', ' '))
      .filter((id) => id.startsWith(`${topic} `))
      .map((id) => id.slice(topic.length + 1))
    throw new VmcacheError('USAGE', `${topic}: which of ${verbs.join(', ')}?`, {
      hint: `see vmcache ${topic} --help`,
      details: { missing: ['VERB'], verbs },
    })
  }
}

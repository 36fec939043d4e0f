import { TOPICS } from '../topics.js'
import { bashCompletion } from './bash-completion.js'
import type { CommandDescription } from './command-description.js'
import { commandPage, pageName } from './command-page.js'
import { configurationPage } from './configuration-page.js'
import { fishCompletion } from './fish-completion.js'
import { formatPage } from './format-page.js'
import { overviewPage } from './overview-page.js'
import { zshCompletion } from './zsh-completion.js'

/** The text of every generated file, by its path in the repository. */
export function documentation(commands: readonly CommandDescription[]): ReadonlyMap<string, string> {
  return new Map([
    ['man/vmcache.1', overviewPage(commands)],
    ['man/vmcache-config.5', configurationPage()],
    ['man/vmcache-format.5', formatPage()],
    ...commands.map((command) => [`man/${pageName(command.name)}.1`, commandPage(command, commands)] as const),
    ['completions/vmcache.bash', bashCompletion(commands, TOPICS)],
    ['completions/_vmcache', zshCompletion(commands, TOPICS)],
    ['completions/vmcache.fish', fishCompletion(commands, TOPICS)],
  ])
}

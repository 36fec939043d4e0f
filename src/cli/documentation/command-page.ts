import type { ArgumentDescription, CommandDescription, FlagDescription } from './command-description.js'
import { bold, definition, italic, page, paragraph, section, text, title, verbatim } from './roff.js'

/** `vmcache-cache-create`: the name of a command's page. */
export function pageName(command: string): string {
  return `vmcache-${command.replaceAll(' ', '-')}`
}

/** The manual page of one command. */
export function commandPage(command: CommandDescription, others: readonly CommandDescription[]): string {
  const { name, summary, description, args, flags, examples } = command
  const own = flags.filter(({ group }) => group === 'own')
  const change = flags.filter(({ group }) => group === 'change')
  return page([
    title(`vmcache ${name}`, 1),
    section('NAME'),
    `${text(pageName(name))} \\- ${text(lowerFirst(summary).replace(/\.$/, ''))}`,
    section('SYNOPSIS'),
    `${bold(`vmcache ${name}`)} ${[...args.map(argumentUsage), ...own.map(flagUsage)].join(' ')}`.trimEnd(),
    section('DESCRIPTION'),
    text(summary),
    ...(description === null ? [] : [paragraph(text(description))]),
    ...(args.length === 0 ? [] : [section('ARGUMENTS'), ...args.map(argumentText)]),
    ...(own.length === 0 ? [] : [section('OPTIONS'), ...own.map(flagText)]),
    ...(change.length === 0 ? [] : [section('OPTIONS OF EVERY CHANGE'), ...change.map(flagText)]),
    section('OPTIONS OF EVERY COMMAND'),
    `${flags
      .filter(({ group }) => group === 'global')
      .map(({ name: flag }) => bold(`--${flag}`))
      .join(', ')}: see`,
    '.BR vmcache (1).',
    ...(examples.length === 0 ? [] : [section('EXAMPLES')]),
    ...examples.flatMap(({ description: what, command: line }) => [
      ...(what === null ? [] : [paragraph(text(`${what}:`))]),
      verbatim(line),
    ]),
    section('EXIT STATUS'),
    'The codes of every command, and what they mean, are in',
    '.BR vmcache (1).',
    section('SEE ALSO'),
    seeAlso(command, others),
  ])
}

/** The other commands of the topic, and the overview. */
function seeAlso({ name }: CommandDescription, others: readonly CommandDescription[]): string {
  const topic = name.split(' ')[0]!
  const related = others.filter((other) => other.name !== name && other.name.split(' ')[0] === topic)
  const pages = ['vmcache', ...related.map((other) => pageName(other.name))]
  return pages.map((name, index) => `.BR ${text(name)} (1)${index === pages.length - 1 ? '' : ','}`).join('\n')
}

function argumentUsage({ name, isRequired, isRepeated }: ArgumentDescription): string {
  const shown = `${italic(name)}${isRepeated ? '...' : ''}`
  return isRequired ? shown : `[${shown}]`
}

function flagUsage(flag: FlagDescription): string {
  return flag.isRequired ? flagTerm(flag) : `[${flagTerm(flag)}]${flag.isRepeated ? '...' : ''}`
}

function flagTerm({ name, value }: FlagDescription): string {
  return value === null ? bold(`--${name}`) : `${bold(`--${name}`)} ${italic(value)}`
}

function argumentText({ name, description }: ArgumentDescription): string {
  return definition(italic(name), text(description))
}

/** A flag with what it means, and where else its value may come from. */
export function flagText(flag: FlagDescription): string {
  const environment = flag.environment === null ? '' : ` (environment: ${flag.environment})`
  return definition(flagTerm(flag), text(flag.summary.replace(/\.$/, '') + environment + '.'))
}

function lowerFirst(line: string): string {
  return line.charAt(0).toLowerCase() + line.slice(1)
}

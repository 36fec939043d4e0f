import { stripVTControlCharacters } from 'node:util'
import { VmcacheError, messageOf } from '../base/errors.js'
import { closest } from './did-you-mean.js'

/** What is known about the command line when its parsing failed. */
export interface CommandLine {
  /** Words as the user wrote them. */
  readonly argv: readonly string[]
  /** Names of the commands that people see: `cache create`. */
  readonly commands: readonly string[]
}

interface ParserError extends Error {
  readonly flags?: readonly string[]
  readonly args?: readonly unknown[]
  readonly parse?: { readonly input?: { readonly flags?: Record<string, { hidden?: boolean }> } }
  readonly oclif?: unknown
}

/** Turns anything that a command or oclif threw into an expected failure with its code. Bugs become INTERNAL. */
export function toVmcacheError(error: unknown, line: CommandLine): VmcacheError {
  if (error instanceof VmcacheError) return withFlagName(error)
  if (!(error instanceof Error)) return internal(error)
  // Ctrl-C at a question (@inquirer/core).
  if (error.name === 'ExitPromptError') return new VmcacheError('INTERRUPTED', 'interrupted: nothing was changed')
  if (isParserError(error)) return usageError(error, line)
  return internal(error)
}

function isParserError(error: Error): error is ParserError {
  return 'oclif' in error
}

function internal(error: unknown): VmcacheError {
  return new VmcacheError('INTERNAL', `internal error: ${messageOf(error)}`, {
    hint: 'this is a bug of vmcache; with VMCACHE_DEBUG=1 it shows where',
    cause: error,
  })
}

/** oclif wraps the message of an error in a flag's value into several lines; one line with the flag's name is enough. */
function withFlagName(error: VmcacheError): VmcacheError {
  const match = /^Parsing (--\S+) \n\t(.*)\nSee more help with --help$/s.exec(error.message)
  if (match === null) return error
  return new VmcacheError(error.code, `${match[1]}: ${match[2]}`, {
    ...(error.hint === null ? {} : { hint: error.hint }),
    details: { flag: match[1], ...error.details },
  })
}

function usageError(error: ParserError, line: CommandLine): VmcacheError {
  const command = commandOf(line)
  const help = command === null ? 'vmcache --help' : `vmcache ${command} --help`
  const usage = (message: string, details: Record<string, unknown> = {}, hint = `see ${help}`): VmcacheError =>
    new VmcacheError('USAGE', message, { hint, details })

  const missing = /^[Cc]ommand (.*) not found/.exec(error.message)
  if (missing !== null) return unknownCommand(missing[1]!.replaceAll(':', ' '), line)

  if (error.constructor.name === 'NonExistentFlagsError') {
    const unknown = (error.flags ?? []).map((flag) => flag.split('=')[0]!)
    const known = Object.entries(error.parse?.input?.flags ?? {})
      .filter(([, flag]) => flag.hidden !== true)
      .map(([name]) => `--${name}`)
    const meant = unknown.length === 1 ? closest(unknown[0]!, known) : null
    const hint = meant === null ? `see ${help}` : `did you mean ${meant}? see ${help}`
    return usage(`${command ?? 'vmcache'} has no flag ${unknown.join(', ')}`, { flags: unknown }, hint)
  }
  if (error.constructor.name === 'RequiredArgsError') {
    const names = (error.args ?? []).map((argument) => String((argument as { name?: unknown }).name).toUpperCase())
    return usage(`${command ?? 'vmcache'}: missing ${names.join(', ')}`, { missing: names })
  }
  if (error.constructor.name === 'UnexpectedArgsError') {
    const extra = (error.args ?? []).map(String)
    return usage(`${command ?? 'vmcache'}: unexpected ${extra.map((word) => JSON.stringify(word)).join(', ')}`, {
      unexpected: extra,
    })
  }
  const reason = stripVTControlCharacters(error.message)
    .replace(/\nSee more help with --help$/, '')
    .replace(/^The following errors? occurred:\s*/, '')
    .replace(/^Parsing (--\S+) \n\t/, '$1: ')
    .replace(/^Flag (--\S+)/, '$1')
    .replace(/^Expected (--\S+)=(.*) to be one of: (.*)$/s, '$1 is "$2", expected one of $3')
    .replace(/^Missing required flag (\S+)/, 'missing --$1')
    .replace(/\s*\n\s*/g, '; ')
  return usage(command === null ? reason : `${command}: ${reason}`)
}

/** UNKNOWN words in place of a command. */
export function unknownCommand(words: string, line: CommandLine): VmcacheError {
  const typed = words.split(' ')
  const command = commandOf({ argv: typed, commands: line.commands })
  if (command !== null) {
    const extra = typed.slice(command.split(' ').length)
    return new VmcacheError('USAGE', `${command}: unexpected ${extra.map((word) => JSON.stringify(word)).join(', ')}`, {
      hint: `see vmcache ${command} --help`,
      details: { unexpected: extra },
    })
  }
  if (typed[0] === '' || typed[0]!.startsWith('-')) {
    return new VmcacheError('USAGE', 'vmcache: which command?', { hint: 'see vmcache --help' })
  }
  const meant = nearestCommand(typed, line.commands)
  return new VmcacheError('USAGE', `${JSON.stringify(`vmcache ${typed.slice(0, 2).join(' ')}`)} is not a command`, {
    hint: meant === null ? 'see vmcache --help' : `did you mean "vmcache ${meant}"? see vmcache --help`,
    details: { seen: words },
  })
}

function nearestCommand([topic = '', verb = '']: readonly string[], commands: readonly string[]): string | null {
  const verbs = commands.filter((command) => command.startsWith(`${topic} `)).map((command) => command.split(' ')[1]!)
  if (verbs.length > 0) {
    const meant = closest(verb, verbs)
    return meant === null ? null : `${topic} ${meant}`
  }
  const first = [...new Set(commands.map((command) => command.split(' ')[0]!))]
  return closest(`${topic} ${verb}`.trim(), commands) ?? closest(topic, first)
}

/** The command that the words name, or null. */
function commandOf({ argv, commands }: CommandLine): string | null {
  for (let length = Math.min(3, argv.length); length > 0; length--) {
    const name = argv.slice(0, length).join(' ')
    if (commands.includes(name)) return name
  }
  return null
}

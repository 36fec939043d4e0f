/** cli/documentation/: manual pages and shell completions, generated from the commands themselves. */
import { readdirSync } from 'node:fs'
import { join, parse, relative } from 'node:path'
import { pathToFileURL } from 'node:url'

/** What one command takes, as its manual page and the completions of the shells need it. */
export interface CommandDescription {
  /** `cache create`. */
  readonly name: string
  readonly summary: string
  readonly description: string | null
  readonly args: readonly ArgumentDescription[]
  readonly flags: readonly FlagDescription[]
  readonly examples: readonly { readonly description: string | null; readonly command: string }[]
}

export interface ArgumentDescription {
  readonly name: string
  readonly description: string
  readonly isRequired: boolean
  readonly isRepeated: boolean
}

export interface FlagDescription {
  readonly name: string
  readonly summary: string
  /** What its value is called; null where it takes none. */
  readonly value: string | null
  /** All values that it may have; null where they are not listed. */
  readonly options: readonly string[] | null
  readonly isRequired: boolean
  readonly isRepeated: boolean
  readonly group: 'own' | 'change' | 'global'
  readonly environment: string | null
}

/** The static side of a command class, as far as it is documented. */
interface CommandClass {
  readonly hidden?: boolean
  readonly summary?: string
  readonly description?: string
  readonly args: Readonly<Record<string, ArgumentSource>>
  readonly flags?: Readonly<Record<string, FlagSource>>
  readonly baseFlags?: Readonly<Record<string, FlagSource>>
  readonly examples?: readonly (string | { readonly description: string; readonly command: string })[]
}

interface ArgumentSource {
  readonly description?: string
  readonly required?: boolean
  readonly multiple?: boolean
}

interface FlagSource {
  readonly type: 'boolean' | 'option'
  readonly summary?: string
  readonly helpValue?: string | string[]
  readonly options?: readonly string[]
  readonly required?: boolean
  readonly multiple?: boolean
  readonly hidden?: boolean
  readonly helpGroup?: string
  readonly env?: string
}

/** The commands below a folder of command files, by name; hidden ones are left out. */
export async function describeCommands(folder: string): Promise<CommandDescription[]> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => /\.[jt]s$/.test(file))
  const described = await Promise.all(
    files.map(async (file) => {
      const { default: command } = (await import(pathToFileURL(join(folder, file)).href)) as { default: CommandClass }
      return command.hidden === true ? [] : [describe(nameOf(relative(folder, join(folder, file))), command)]
    }),
  )
  return described.flat().sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** `cache/create.js` is `cache create`, `stats/index.js` is `stats`. */
function nameOf(file: string): string {
  const { dir, name } = parse(file)
  return (name === 'index' ? dir : join(dir, name)).replaceAll('/', ' ')
}

function describe(name: string, command: CommandClass): CommandDescription {
  const flags = { ...command.flags, ...command.baseFlags }
  return {
    name,
    summary: command.summary ?? '',
    description: command.description ?? null,
    args: Object.entries(command.args).map(([argument, source]) => ({
      name: argument.toUpperCase(),
      description: source.description ?? '',
      isRequired: source.required === true,
      isRepeated: source.multiple === true,
    })),
    flags: Object.entries(flags)
      .filter(([, flag]) => flag.hidden !== true)
      .map(([flag, source]) => describeFlag(flag, source))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    examples: (command.examples ?? []).map((example) => {
      const { description, command: line } =
        typeof example === 'string' ? { description: null, command: example } : example
      return { description, command: line.replaceAll('<%= config.bin %>', 'vmcache') }
    }),
  }
}

function describeFlag(name: string, source: FlagSource): FlagDescription {
  const value = Array.isArray(source.helpValue) ? source.helpValue.join(' ') : source.helpValue
  return {
    name,
    summary: source.summary ?? '',
    value: source.type === 'boolean' ? null : (value ?? source.options?.join('|') ?? 'VALUE'),
    options: source.options ?? null,
    isRequired: source.required === true,
    isRepeated: source.multiple === true,
    group: source.helpGroup === 'GLOBAL' ? 'global' : source.helpGroup === 'CHANGE' ? 'change' : 'own',
    environment: source.env ?? null,
  }
}

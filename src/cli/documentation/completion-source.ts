import type { CommandDescription, FlagDescription } from './command-description.js'

/** What a word on the command line may be completed with. */
export type WordKind = 'cache' | 'disk' | 'job' | 'running-job' | 'vm' | 'checkpoint' | 'file' | 'directory' | 'none'

const ARGUMENT_KINDS: Readonly<Record<string, WordKind>> = {
  CACHE: 'cache',
  DISK: 'disk',
  JOB: 'job',
  VM: 'vm',
  CHECKPOINT: 'checkpoint',
  ORIGIN: 'file',
  FILE: 'file',
  DEVICE: 'file',
  NEW: 'file',
}

const FLAG_KINDS: Readonly<Record<string, WordKind>> = {
  cache: 'cache',
  disk: 'disk',
  vm: 'vm',
  kernel: 'file',
  initrd: 'file',
  exclude: 'disk',
  device: 'file',
  replacement: 'file',
  config: 'file',
  root: 'directory',
  'state-dir': 'directory',
  'run-dir': 'directory',
}

/** Arguments whose name says less than their command. */
const EXCEPTIONS: Readonly<Record<string, WordKind>> = {
  'cache create CACHE': 'none',
  'job cancel JOB': 'running-job',
  'vm resume VM': 'checkpoint',
}

export function argumentKind(command: CommandDescription, argument: string): WordKind {
  return EXCEPTIONS[`${command.name} ${argument}`] ?? ARGUMENT_KINDS[argument] ?? 'none'
}

export function flagKind({ name }: FlagDescription): WordKind {
  return FLAG_KINDS[name] ?? 'none'
}

/** The first words of the commands, with what they are about. */
export function firstWords(
  commands: readonly CommandDescription[],
  topics: Readonly<Record<string, string>>,
): { word: string; summary: string }[] {
  const words = [...new Set(commands.map(({ name }) => name.split(' ')[0]!))]
  return words.map((word) => ({
    word,
    summary: commands.find(({ name }) => name === word)?.summary ?? topics[word] ?? '',
  }))
}

/** The second words after `topic`. */
export function verbsOf(commands: readonly CommandDescription[], topic: string): { word: string; summary: string }[] {
  return commands
    .filter(({ name }) => name.startsWith(`${topic} `))
    .map(({ name, summary }) => ({ word: name.slice(topic.length + 1), summary }))
}

/** Flags that take a value, of any command: a flag is the same everywhere. */
export function flagsWithValue(commands: readonly CommandDescription[]): string[] {
  const names = commands.flatMap(({ flags }) => flags.filter(({ value }) => value !== null).map(({ name }) => name))
  return [...new Set(names)].sort().map((name) => `--${name}`)
}

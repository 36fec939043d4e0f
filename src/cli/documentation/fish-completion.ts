import type { CommandDescription, FlagDescription } from './command-description.js'
import { argumentKind, firstWords, flagKind, flagsWithValue, verbsOf, type WordKind } from './completion-source.js'

const ARGUMENTS: Readonly<Record<WordKind, string>> = {
  cache: "-f -a '(__vmcache_names cache)'",
  disk: "-f -a '(__vmcache_names disk)'",
  job: "-f -a '(__vmcache_names job)'",
  'running-job': "-f -a '(__vmcache_names running-job)'",
  vm: "-f -a '(__vmcache_names vm)'",
  checkpoint: "-f -a '(__vmcache_names checkpoint)'",
  file: '-F',
  directory: "-f -a '(__fish_complete_directories)'",
  none: '-f',
}

/** completions/vmcache.fish */
export function fishCompletion(
  commands: readonly CommandDescription[],
  topics: Readonly<Record<string, string>>,
): string {
  const first = firstWords(commands, topics)
  const word = (condition: string, { word, summary }: { word: string; summary: string }): string =>
    `complete -c vmcache -n '${condition}' -a ${word} -d ${quoted(summary)}`
  const lines = [
    ...first.map((entry) => word('__vmcache_at', entry)),
    ...first.flatMap(({ word: topic }) =>
      verbsOf(commands, topic).map((entry) => word(`__vmcache_at ${topic}`, entry)),
    ),
    ...commands.flatMap((command) => [
      ...command.flags.map((flag) => flagLine(command, flag)),
      ...command.args.map((argument, index) => {
        const kind = argumentKind(command, argument.name)
        const place = argument.isRepeated ? '' : ` ${index}`
        return `complete -c vmcache -n '__vmcache_in ${command.name};${place === '' ? '' : ` and __vmcache_argument${place}`}' ${ARGUMENTS[kind]}`.replace(
          ";'",
          "'",
        )
      }),
    ]),
  ]
  return `# Completion of vmcache for fish. Made from the commands by src/cli/documentation; changes belong there.

function __vmcache_names
    vmcache __complete $argv[1] 2>/dev/null
end

# The words before the one that is typed, without flags and their values.
function __vmcache_words
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word ${flagsWithValue(commands).join(' ')}
            set skip 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether exactly these words have been typed.
function __vmcache_at
    test "$(__vmcache_words)" = "$argv"
end

# Whether these words have been typed first.
function __vmcache_in
    set -l words (__vmcache_words)
    test "$words[1..$(count $argv)]" = "$argv" 2>/dev/null
end

# Whether so many arguments follow the command.
function __vmcache_argument
    set -l words (__vmcache_words)
    set -l length 2
    contains -- "$words[1]" ${commands
      .map(({ name }) => name)
      .filter((name) => !name.includes(' '))
      .join(' ')}; and set length 1
    test (count $words) = (math $length + $argv[1])
end

complete -c vmcache -f
${lines.join('\n')}
`
}

function flagLine(command: CommandDescription, flag: FlagDescription): string {
  const begin = `complete -c vmcache -n '__vmcache_in ${command.name}' -l ${flag.name}`
  const end = `-d ${quoted(flag.summary)}`
  if (flag.value === null) return `${begin} ${end}`
  const values = flag.options === null ? ARGUMENTS[flagKind(flag)] : `-f -a ${quoted(flag.options.join(' '))}`
  return `${begin} -r ${values} ${end}`
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

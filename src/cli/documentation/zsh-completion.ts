import type { CommandDescription, FlagDescription } from './command-description.js'
import { argumentKind, firstWords, flagKind, verbsOf, type WordKind } from './completion-source.js'

const ACTIONS: Readonly<Record<WordKind, string>> = {
  cache: '_vmcache_names cache',
  disk: '_vmcache_names disk',
  job: '_vmcache_names job',
  'running-job': '_vmcache_names running-job',
  vm: '_vmcache_names vm',
  checkpoint: '_vmcache_names checkpoint',
  file: '_files',
  directory: '_files -/',
  none: '',
}

/** completions/_vmcache */
export function zshCompletion(
  commands: readonly CommandDescription[],
  topics: Readonly<Record<string, string>>,
): string {
  const first = firstWords(commands, topics)
  const topicCases = first
    .map(({ word }) => ({ topic: word, verbs: verbsOf(commands, word) }))
    .filter(({ verbs }) => verbs.length > 0)
    .map(({ topic, verbs }) => `    ${topic})\n      verbs=(${verbs.map(described).join(' ')})\n      ;;`)
  const commandCases = commands.map((command) => {
    const specifications = [...command.flags.map(flagSpecification), "'--help[Show help.]'", ...argumentsOf(command)]
    const lines = specifications.map((specification) => `        ${specification}`).join(' \\\n')
    return `    '${command.name}')\n      _arguments -s \\\n${lines}\n      ;;`
  })
  return `#compdef vmcache
# Completion of vmcache for zsh. Made from the commands by src/cli/documentation; changes belong there.

# The kind of names comes last, behind what _arguments wants to be passed on.
_vmcache_names() {
  local -a names
  names=(\${(f)"$(vmcache __complete \${@[-1]} 2>/dev/null)"})
  compadd "\${@[1,-2]}" -a names
}

_vmcache_command() {
  case $1 in
${commandCases.join('\n')}
  esac
}

_vmcache() {
  local -a first verbs
  local command
  first=(${first.map(described).join(' ')})
  if ((CURRENT == 2)); then
    _describe -t commands 'vmcache command' first
    return
  fi
  case $words[2] in
${topicCases.join('\n')}
  esac
  command=$words[2]
  if ((\${verbs[(I)$words[3]:*]} && CURRENT > 3)); then
    command="$words[2] $words[3]"
    shift words
    ((CURRENT--))
  elif (($#verbs && CURRENT == 3)); then
    _describe -t commands "$words[2] command" verbs
    [[ $command == stats ]] || return
  fi
  shift words
  ((CURRENT--))
  _vmcache_command $command
}

_vmcache "$@"
`
}

function described({ word, summary }: { word: string; summary: string }): string {
  return quoted(`${word}:${summary.replaceAll(':', '\\:')}`)
}

function flagSpecification(flag: FlagDescription): string {
  const summary = bracketed(flag.summary)
  const repeated = flag.isRepeated ? '*' : ''
  if (flag.value === null) return quoted(`${repeated}--${flag.name}[${summary}]`)
  const action = flag.options === null ? ACTIONS[flagKind(flag)] : `(${flag.options.join(' ')})`
  return quoted(`${repeated}--${flag.name}=[${summary}]:${flag.value.replaceAll(':', '\\:')}:${action}`)
}

function argumentsOf(command: CommandDescription): string[] {
  return command.args.map(({ name, isRequired, isRepeated }, index) => {
    const place = isRepeated ? '*' : String(index + 1)
    const action = ACTIONS[argumentKind(command, name)]
    return quoted(`${place}:${isRequired || isRepeated ? '' : ':'}${name}:${action}`)
  })
}

function bracketed(summary: string): string {
  return summary.replaceAll('[', '\\[').replaceAll(']', '\\]').replaceAll(':', '\\:')
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

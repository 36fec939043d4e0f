import type { CommandDescription } from './command-description.js'
import { argumentKind, firstWords, flagKind, flagsWithValue, verbsOf, type WordKind } from './completion-source.js'

const COMPLETE: Readonly<Record<WordKind, string>> = {
  cache: '_vmcache_names cache',
  disk: '_vmcache_names disk',
  job: '_vmcache_names job',
  'running-job': '_vmcache_names running-job',
  vm: '_vmcache_names vm',
  checkpoint: '_vmcache_names checkpoint',
  file: '_vmcache_files -f',
  directory: '_vmcache_files -d',
  none: ':',
}

/** completions/vmcache.bash */
export function bashCompletion(
  commands: readonly CommandDescription[],
  topics: Readonly<Record<string, string>>,
): string {
  const first = firstWords(commands, topics).map(({ word }) => word)
  const topicCases = first
    .map((topic) => ({ topic, verbs: verbsOf(commands, topic).map(({ word }) => word) }))
    .filter(({ verbs }) => verbs.length > 0)
    .map(({ topic, verbs }) => `    ${topic}) echo '${verbs.join(' ')}' ;;`)
  const flags = commands.map(
    ({ name, flags }) => `    '${name}') echo '${[...flags.map((flag) => `--${flag.name}`), '--help'].join(' ')}' ;;`,
  )
  const values = commands.flatMap(({ flags }) => flags).filter(({ value }) => value !== null)
  const valueCases = [...new Map(values.map((flag) => [flag.name, flag])).values()].flatMap((flag) => {
    if (flag.options !== null) return [`    --${flag.name}) _vmcache_words '${flag.options.join(' ')}' ;;`]
    return flagKind(flag) === 'none' ? [] : [`    --${flag.name}) ${COMPLETE[flagKind(flag)]} ;;`]
  })
  const argumentCases = commands.flatMap((command) =>
    command.args.flatMap((argument, index) => {
      const kind = argumentKind(command, argument.name)
      return kind === 'none' ? [] : [`    '${command.name}:'${argument.isRepeated ? '*' : index}) ${COMPLETE[kind]} ;;`]
    }),
  )
  return `# Completion of vmcache for bash. Made from the commands by src/cli/documentation; changes belong there.

_vmcache_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_vmcache_files() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen "$1" -- "$cur"); }
_vmcache_names() {
  local IFS=$'\\n'
  mapfile -t COMPREPLY < <(compgen -W "$(vmcache __complete "$1" 2>/dev/null)" -- "$cur")
}

_vmcache_verbs() {
  case $1 in
${topicCases.join('\n')}
  esac
}

_vmcache_flags() {
  case $1 in
${flags.join('\n')}
  esac
}

# The value of a flag.
_vmcache_value() {
  case $1 in
${valueCases.join('\n')}
    *) : ;;
  esac
}

# An argument, as 'COMMAND:POSITION'.
_vmcache_argument() {
  case $1 in
${argumentCases.join('\n')}
    *) : ;;
  esac
}

_vmcache_takes_value() {
  case $1 in
    ${flagsWithValue(commands).join('|')}) return 0 ;;
    *) return 1 ;;
  esac
}

_vmcache() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  # '--flag=value' comes as three words.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $previous == '=' ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi

  local topic='' verb='' command='' position=0 index word
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ $word == '=' ]]; then
      ((index++))
    elif _vmcache_takes_value "$word" && [[ \${COMP_WORDS[index + 1]} != '=' ]]; then
      ((index++))
    elif [[ $word == -* ]]; then
      :
    elif [[ -z $topic ]]; then
      topic=$word
    elif [[ -z $verb && " $(_vmcache_verbs "$topic") " == *" $word "* ]]; then
      verb=$word
    else
      ((position++))
    fi
  done
  command=$topic\${verb:+ $verb}

  if _vmcache_takes_value "$previous"; then
    _vmcache_value "$previous"
  elif [[ $cur == -* ]]; then
    _vmcache_words "$(_vmcache_flags "$command")"
  elif [[ -z $topic ]]; then
    _vmcache_words '${first.join(' ')}'
  elif [[ -z $(_vmcache_flags "$command") ]]; then
    _vmcache_words "$(_vmcache_verbs "$topic")"
  else
    _vmcache_argument "$command:$position"
    [[ -n \${COMPREPLY[*]} || -n $verb || $position -gt 0 ]] || _vmcache_words "$(_vmcache_verbs "$topic")"
  fi
}

complete -F _vmcache vmcache
`
}

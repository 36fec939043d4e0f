# Completion of vmcache for bash. Made from the commands by src/cli/documentation; changes belong there.

_vmcache_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_vmcache_files() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen "$1" -- "$cur"); }
_vmcache_names() {
  local IFS=$'\n'
  mapfile -t COMPREPLY < <(compgen -W "$(vmcache __complete "$1" 2>/dev/null)" -- "$cur")
}

_vmcache_verbs() {
  case $1 in
    cache) echo 'attach check create delete detach import list recover scrub show' ;;
    checkpoint) echo 'delete list move show' ;;
    config) echo 'check show' ;;
    device) echo 'add list remove replace' ;;
    disk) echo 'flush invalidate list resolve show' ;;
    engine) echo 'install restart start status stop uninstall' ;;
    event) echo 'list' ;;
    job) echo 'cancel list show' ;;
    lease) echo 'list show take' ;;
    policy) echo 'list set show unset' ;;
    stats) echo 'export' ;;
    vm) echo 'adopt define delete list release resume show start stop suspend' ;;
  esac
}

_vmcache_flags() {
  case $1 in
    'cache attach') echo '--config --destage --destage-barrier --dirty-age --dirty-high --dirty-low --dry-run --exclusive --host --json --max --min --mode --name --no-color --no-wait --quiet --read-only --replacement --run-dir --shares --state-dir --target --timeout --user --vm --yes --help' ;;
    'cache check') echo '--config --host --json --no-color --quiet --repair --run-dir --state-dir --timeout --user --help' ;;
    'cache create') echo '--block-size --chunk-size --config --device --dry-run --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'cache delete') echo '--config --discard-dirty --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'cache detach') echo '--all --config --discard-dirty --dry-run --exclude --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --vm --yes --help' ;;
    'cache import') echo '--allow-missing --config --device --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'cache list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'cache recover') echo '--config --device --disk --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'cache scrub') echo '--config --dry-run --host --json --no-color --no-wait --quiet --rate --run-dir --state-dir --timeout --user --yes --help' ;;
    'cache show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'checkpoint delete') echo '--all --config --discard-memory --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'checkpoint list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'checkpoint move') echo '--all --config --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --to --user --yes --help' ;;
    'checkpoint show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'config check') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'config show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'device add') echo '--config --dry-run --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'device list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'device remove') echo '--config --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'device replace') echo '--config --dry-run --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'disk flush') echo '--all --config --dry-run --exclude --hold --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'disk invalidate') echo '--all --config --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'disk list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'disk resolve') echo '--config --discard-dirty --dry-run --host --json --keep --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'disk show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'doctor') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'engine install') echo '--config --dry-run --host --json --no-color --no-wait --quiet --root --run-dir --state-dir --timeout --user --yes --help' ;;
    'engine restart') echo '--config --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'engine start') echo '--config --dry-run --foreground --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'engine status') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'engine stop') echo '--config --detach --dry-run --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'engine uninstall') echo '--config --dry-run --host --json --no-color --no-wait --quiet --root --run-dir --state-dir --timeout --user --yes --help' ;;
    'event list') echo '--config --disk --follow --host --json --no-color --quiet --run-dir --since --state-dir --timeout --user --vm --help' ;;
    'job cancel') echo '--config --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'job list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'job show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'lease list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'lease show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'lease take') echo '--config --discard-dirty --dry-run --fenced --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'policy list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'policy set') echo '--cache --config --destage --destage-barrier --dirty-age --dirty-high --dirty-low --disk --dry-run --host --idle-timeout --json --max --min --mode --no-color --no-wait --quiet --rapid-suspend --replacement --resume-at --run-dir --shares --state-dir --storage-after --suspend-at --time-zone --timeout --user --vm --yes --help' ;;
    'policy show') echo '--cache --config --disk --host --json --no-color --quiet --run-dir --state-dir --timeout --user --vm --help' ;;
    'policy unset') echo '--cache --config --disk --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --vm --yes --help' ;;
    'stats') echo '--config --host --json --latency --no-color --quiet --run-dir --state-dir --timeout --user --watch --window --help' ;;
    'stats export') echo '--config --host --json --no-color --prometheus --quiet --run-dir --state-dir --timeout --user --help' ;;
    'status') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'vm adopt') echo '--config --connect --dry-run --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm define') echo '--accel --append --config --cpus --disk --dry-run --host --initrd --json --kernel --memory --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm delete') echo '--all --config --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm list') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'vm release') echo '--all --config --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm resume') echo '--all --at-once --config --dry-run --exclude --host --json --no-color --no-wait --quiet --rate --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm show') echo '--config --host --json --no-color --quiet --run-dir --state-dir --timeout --user --help' ;;
    'vm start') echo '--all --best-effort --config --dry-run --exclude --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm stop') echo '--all --config --dry-run --exclude --force --host --json --no-color --no-wait --quiet --run-dir --state-dir --timeout --user --yes --help' ;;
    'vm suspend') echo '--all --at-once --config --dry-run --exclude --host --idle --json --no-color --no-wait --quiet --rate --run-dir --state-dir --timeout --to --user --yes --help' ;;
  esac
}

# The value of a flag.
_vmcache_value() {
  case $1 in
    --config) _vmcache_files -f ;;
    --destage) _vmcache_words 'ordered relaxed' ;;
    --destage-barrier) _vmcache_words 'flush answer' ;;
    --mode) _vmcache_words 'write-through write-back write-around pass-through' ;;
    --replacement) _vmcache_files -f ;;
    --run-dir) _vmcache_files -d ;;
    --state-dir) _vmcache_files -d ;;
    --vm) _vmcache_names vm ;;
    --device) _vmcache_files -f ;;
    --exclude) _vmcache_names disk ;;
    --disk) _vmcache_names disk ;;
    --to) _vmcache_words 'local storage' ;;
    --keep) _vmcache_words 'cache origin' ;;
    --root) _vmcache_files -d ;;
    --cache) _vmcache_names cache ;;
    --rapid-suspend) _vmcache_words 'off on best-effort' ;;
    --window) _vmcache_words '5m 1h 24h all' ;;
    --accel) _vmcache_words 'kvm tcg' ;;
    --initrd) _vmcache_files -f ;;
    --kernel) _vmcache_files -f ;;
    *) : ;;
  esac
}

# An argument, as 'COMMAND:POSITION'.
_vmcache_argument() {
  case $1 in
    'cache attach:'0) _vmcache_names cache ;;
    'cache attach:'1) _vmcache_files -f ;;
    'cache check:'*) _vmcache_files -f ;;
    'cache delete:'0) _vmcache_names cache ;;
    'cache detach:'*) _vmcache_names disk ;;
    'cache recover:'0) _vmcache_names cache ;;
    'cache scrub:'0) _vmcache_names cache ;;
    'cache show:'0) _vmcache_names cache ;;
    'checkpoint delete:'*) _vmcache_names checkpoint ;;
    'checkpoint move:'*) _vmcache_names checkpoint ;;
    'checkpoint show:'0) _vmcache_names checkpoint ;;
    'config check:'0) _vmcache_files -f ;;
    'device add:'0) _vmcache_names cache ;;
    'device add:'1) _vmcache_files -f ;;
    'device remove:'0) _vmcache_names cache ;;
    'device remove:'1) _vmcache_files -f ;;
    'device replace:'0) _vmcache_names cache ;;
    'device replace:'1) _vmcache_files -f ;;
    'device replace:'2) _vmcache_files -f ;;
    'disk flush:'*) _vmcache_names disk ;;
    'disk invalidate:'*) _vmcache_names disk ;;
    'disk resolve:'0) _vmcache_names disk ;;
    'disk show:'0) _vmcache_names disk ;;
    'job cancel:'0) _vmcache_names running-job ;;
    'job show:'0) _vmcache_names job ;;
    'lease show:'0) _vmcache_files -f ;;
    'lease take:'0) _vmcache_files -f ;;
    'stats:'*) _vmcache_names disk ;;
    'vm delete:'*) _vmcache_names vm ;;
    'vm release:'*) _vmcache_names vm ;;
    'vm resume:'*) _vmcache_names checkpoint ;;
    'vm show:'0) _vmcache_names vm ;;
    'vm start:'*) _vmcache_names vm ;;
    'vm stop:'*) _vmcache_names vm ;;
    'vm suspend:'*) _vmcache_names vm ;;
    *) : ;;
  esac
}

_vmcache_takes_value() {
  case $1 in
    --accel|--append|--at-once|--block-size|--cache|--chunk-size|--config|--connect|--cpus|--destage|--destage-barrier|--device|--dirty-age|--dirty-high|--dirty-low|--disk|--exclude|--hold|--host|--idle|--idle-timeout|--initrd|--keep|--kernel|--max|--memory|--min|--mode|--name|--rapid-suspend|--rate|--replacement|--resume-at|--root|--run-dir|--shares|--since|--state-dir|--storage-after|--suspend-at|--target|--time-zone|--timeout|--to|--vm|--window) return 0 ;;
    *) return 1 ;;
  esac
}

_vmcache() {
  local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  # '--flag=value' comes as three words.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $previous == '=' ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi

  local topic='' verb='' command='' position=0 index word
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ $word == '=' ]]; then
      ((index++))
    elif _vmcache_takes_value "$word" && [[ ${COMP_WORDS[index + 1]} != '=' ]]; then
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
  command=$topic${verb:+ $verb}

  if _vmcache_takes_value "$previous"; then
    _vmcache_value "$previous"
  elif [[ $cur == -* ]]; then
    _vmcache_words "$(_vmcache_flags "$command")"
  elif [[ -z $topic ]]; then
    _vmcache_words 'cache checkpoint config device disk doctor engine event job lease policy stats status vm'
  elif [[ -z $(_vmcache_flags "$command") ]]; then
    _vmcache_words "$(_vmcache_verbs "$topic")"
  else
    _vmcache_argument "$command:$position"
    [[ -n ${COMPREPLY[*]} || -n $verb || $position -gt 0 ]] || _vmcache_words "$(_vmcache_verbs "$topic")"
  fi
}

complete -F _vmcache vmcache

/** What the shells offer, with a vmcache that knows two caches and three disks. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { describeWith, pathOf } from '../support/packages.js'
import { must } from '../support/processes.js'
import { ROOT } from '../support/vmcache.js'

let directory: string
let environment: Record<string, string>
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-completion-'))
  const stub = `#!/bin/sh
case "$1 $2" in
  '__complete cache') printf 'fast\\nspare\\n' ;;
  '__complete disk') printf 'db01/vda\\nweb01/vda\\nweb01/vdb\\n' ;;
  '__complete job') printf '0d9f\\n77aa\\n' ;;
  '__complete running-job') printf '0d9f\\n' ;;
esac
`
  writeFileSync(join(directory, 'vmcache'), stub)
  chmodSync(join(directory, 'vmcache'), 0o755)
  writeFileSync(join(directory, 'disk.raw'), '')
  environment = { PATH: [directory, process.env['PATH']].join(delimiter), HOME: directory }
})
afterAll(() => rmSync(directory, { recursive: true }))

/** What is typed, and some of what is offered; `null`: exactly nothing. */
const offers: readonly (readonly [string, readonly string[] | null])[] = [
  ['vmcache ', ['cache', 'disk', 'status', 'stats']],
  ['vmcache ca', ['cache']],
  ['vmcache cache ', ['create', 'list', 'attach']],
  ['vmcache cache cr', ['create']],
  ['vmcache cache create ', null],
  ['vmcache cache create --chu', ['--chunk-size']],
  ['vmcache cache show ', ['fast', 'spare']],
  ['vmcache cache show f', ['fast']],
  ['vmcache cache attach fast d', ['disk.raw']],
  ['vmcache cache attach --mode write-around ', ['fast', 'spare']],
  ['vmcache cache attach fast disk.raw --mode ', ['write-through', 'write-around', 'pass-through']],
  ['vmcache disk flush web01/vda ', ['db01/vda', 'web01/vdb']],
  ['vmcache disk flush --all --exclude w', ['web01/vda', 'web01/vdb']],
  ['vmcache policy set --disk d', ['db01/vda']],
  ['vmcache stats w', ['web01/vda']],
  ['vmcache stats e', ['export']],
  ['vmcache job show ', ['0d9f', '77aa']],
  ['vmcache job cancel ', ['0d9f']],
]

function expectOffers(offered: readonly string[], expected: readonly string[] | null): void {
  if (expected === null) expect(offered).toEqual([])
  else expect(offered).toEqual(expect.arrayContaining([...expected]))
  for (const word of offered) expect(word).not.toMatch(/^(__|undefined)/)
}

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')

describeWith(['bash'], 'bash', () => {
  test.each(offers)('%j', async (typed, expected) => {
    const words = typed.split(' ').map((word) => `'${word}'`)
    const script = `
      compopt() { :; }
      source '${join(ROOT, 'completions', 'vmcache.bash')}'
      COMP_WORDS=(${words.join(' ')})
      COMP_CWORD=${words.length - 1}
      _vmcache
      [[ -z "\${COMPREPLY[*]}" ]] || printf '%s\\n' "\${COMPREPLY[@]}"`
    const options = { env: environment, cwd: directory }
    expectOffers(lines(await must(pathOf('bash'), ['--norc', '-c', script], options)), expected)
  })

  test('a value behind = is completed too', async () => {
    const script = `
      source '${join(ROOT, 'completions', 'vmcache.bash')}'
      COMP_WORDS=(vmcache cache attach --mode = write-a)
      COMP_CWORD=5
      _vmcache
      printf '%s\\n' "\${COMPREPLY[@]}"`
    expect(await must(pathOf('bash'), ['--norc', '-c', script], { env: environment })).toBe('write-around\n')
  })
})

describeWith(['fish'], 'fish', () => {
  test.each(offers)('%j', async (typed, expected) => {
    const script = `source '${join(ROOT, 'completions', 'vmcache.fish')}'; complete -C '${typed}'`
    const text = await must(pathOf('fish'), ['--no-config', '-c', script], { env: environment, cwd: directory })
    expectOffers(
      lines(text).map((line) => line.split('\t')[0]!),
      expected,
    )
  })
})

describeWith(['zsh'], 'zsh', () => {
  // compadd in a pseudo-terminal of zsh's own writes down what would be offered; one terminal for all lines.
  const CAPTURE = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT= PS2= ; cd $DIRECTORY; fpath=($COMPLETIONS \\$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w z 'bindkey "^I" complete-word; zstyle ":completion:*" insert-tab false; unsetopt beep'
zpty -w z 'compadd() {
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)* ]]; then
    typeset -a found
    builtin compadd -A found "$@"
    print -rl -- $found >> $DIRECTORY/offers
  fi
  builtin compadd "$@"
}'
zpty -w z 'ended() { BUFFER=; touch $DIRECTORY/ended }; zle -N ended; bindkey "^X" ended; touch $DIRECTORY/ended'
number=0
while IFS= read -r typed; do
  while [[ ! -e $DIRECTORY/ended ]]; do sleep 0.02; done
  rm $DIRECTORY/ended
  : > $DIRECTORY/offers
  zpty -n -w z "$typed"$'\\t\\C-x'
  while [[ ! -e $DIRECTORY/ended ]]; do sleep 0.02; done
  cp $DIRECTORY/offers $DIRECTORY/offers.$number
  ((number++))
done < $DIRECTORY/typed
zpty -d z
`
  beforeAll(async () => {
    writeFileSync(join(directory, 'typed'), offers.map(([typed]) => `${typed}\n`).join(''))
    const script = CAPTURE.replaceAll('$DIRECTORY', directory).replaceAll('$COMPLETIONS', join(ROOT, 'completions'))
    await must(pathOf('zsh'), ['-f', '-c', script], { env: environment })
  })

  test.each(offers.map(([typed, expected], number) => [typed, expected, number] as const))(
    '%j',
    (_typed, expected, number) => {
      expectOffers(lines(readFileSync(join(directory, `offers.${number}`), 'utf8')), expected)
    },
  )
})

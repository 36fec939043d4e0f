/** Wrong command lines: exit code 2, one line that says what is wrong, and what to do. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandLineTest, type CommandLineTest } from '../support/vmcache.js'

let cli: CommandLineTest
beforeAll(async () => void (cli = await commandLineTest()))
afterAll(() => cli.stop())

const wrong: [string, RegExp, RegExp?][] = [
  ['stauts', /"vmcache stauts" is not a command/, /did you mean "vmcache status"/],
  ['cache lst', /"vmcache cache lst" is not a command/, /did you mean "vmcache cache list"/],
  ['cach list', /not a command/, /did you mean "vmcache cache list"/],
  ['frobnicate', /not a command/, /vmcache --help/],
  ['cache', /cache: which of attach, .*show\?/, /vmcache cache --help/],
  ['--json', /which command\?/],
  ['cache list extra', /cache list: unexpected "extra"/, /vmcache cache list --help/],
  ['cache list --jsno', /cache list has no flag --jsno/, /did you mean --json/],
  ['cache list --watch', /cache list has no flag --watch/],
  ['cache show', /cache show: missing CACHE/],
  ['cache show a b', /cache show: unexpected "b"/],
  ['cache create', /cache create: missing CACHE, --device/],
  ['cache create fast', /cache create: missing --device/],
  ['cache create fast --device', /cache create: --device expects a value/],
  ['cache create fast --device /x,size=10x', /--device: "10x" is not a size/],
  ['cache create fast --device /x --chunk-size 1.5m', /--chunk-size: "1.5m" is not a size/],
  ['cache create ../fast --device /x', /cache name "..\/fast" is not valid/, /letters, digits/],
  ['cache attach', /cache attach: missing CACHE, ORIGIN/],
  ['cache attach fast', /cache attach: missing ORIGIN/],
  ['cache attach fast /x --vm web01', /an origin and --vm do not go together/],
  ['cache attach --vm web01', /cache attach: missing CACHE/],
  ['cache detach web01/vda --vm web01', /names, --all and --vm do not go together/],
  ['vm define own --disk /a', /vm define: missing --memory/],
  ['vm define own --memory 1g --disk /a,format=vmdk', /disk "\/a,format=vmdk" is not valid: format "vmdk"/],
  ['vm define a/b --memory 1g --disk /a', /VM name "a\/b" is not valid/],
  ['vm start', /which vm\? name it, or give --all/],
  ['vm adopt', /vm adopt: missing DOMAIN/],
  ['cache attach fast /x --name a//b', /disk name "a\/\/b" is not valid/],
  ['cache attach fast /x --mode write-sideways', /--mode is "write-sideways", expected one of write-through/],
  ['cache attach fast /x --min 101%', /--min: "101%" is not a percentage/],
  ['cache attach fast /x --max lots', /--max: "lots" is not a size/],
  ['cache attach fast /x --shares 0', /--shares: "0" is not a whole number from 1 to 1000000/],
  ['cache attach fast /x --shares 1e3', /--shares: "1e3" is not a whole number/],
  ['cache delete fast', /Nobody is there to answer/, /give --yes/],
  ['cache import', /cache import: missing --device/],
  ['cache scrub', /cache scrub: missing CACHE/],
  ['cache scrub fast --rate 0', /--rate is 0/],
  ['cache scrub fast --rate 1.5m', /--rate: "1.5m" is not a size/],
  ['device add fast', /device add: missing DEVICE/],
  ['device add fast /x,size=10x', /"10x" is not a size/],
  ['device remove fast', /device remove: missing DEVICE/],
  ['device replace fast /x', /device replace: missing NEW/],
  ['cache detach', /which disk/],
  ['disk flush a --all', /names and --all do not go together/],
  ['disk flush a --timeout soon', /--timeout: "soon" is not a duration/],
  ['policy set --disk a', /policy set: missing --mode/],
  ['policy set --mode write-around', /policy set: missing --disk/],
  ['policy show', /policy show: missing --disk/],
  ['policy set --vm a', /policy set: missing --mode.*--rapid-suspend/],
  ['policy set --cache a --idle-timeout 1h', /--idle-timeout.* are not for a cache/],
  ['policy set --host a --min 5%', /a percentage is one of a cache/],
  ['policy set --disk a --cache b --shares 5', /--cache.*--disk|--disk.*--cache/],
  ['policy unset --disk a', /missing SETTING/],
  ['policy unset mode', /policy unset: missing --disk/],
  ['policy unset --disk a idle-timeout', /"idle-timeout" is no setting of a disk/],
  ['vm define', /vm define: missing NAME, --memory, --disk/],
  ['stats --window 7m', /--window is "7m", expected one of 5m, 1h, 24h, all/],
  ['stats export', /stats export: missing --prometheus/],
  ['event list --since yesterday', /--since: "yesterday" is not a duration/],
  ['job show', /job show: missing JOB/],
  ['config check', /config check: missing FILE/],
]

test.each(wrong)('vmcache %s', async (line, message, hint) => {
  const args = line === '--json' ? [] : line.split(' ')
  const { code, document, stderr } = await cli.json(...args)
  expect({ code, stderr }).toEqual({ code: 2, stderr: '' })
  const { error } = document as { error: { exit: number; message: string; hint: string | null } }
  expect(Object.keys(document)).toEqual(['error'])
  expect(error.exit).toBe(2)
  expect(error.message).toMatch(message)
  expect(error.message).not.toContain('\n')
  if (hint !== undefined) expect(error.hint).toMatch(hint)
})

test('a wrong command line reaches no engine', () => {
  expect(cli.fake.requests).toEqual([])
})

test('--json behind -- is an argument', async () => {
  const { code, stdout, stderr } = await cli.run('cache', 'show', '--', '--json', 'x')
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain('error: cache show: unexpected "x"')
})

test('a bad value in the environment names the flag', async () => {
  const outcome = await cli.run('config', 'check', 'missing.yaml')
  expect(outcome).toMatchObject({ code: 2, stdout: '' })
  expect(outcome.stderr).toMatch(/missing\.yaml cannot be read/)
})

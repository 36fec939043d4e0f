import { VmcacheError } from '../../base/errors.js'
import { parseDuration, parseSize } from '../../base/units.js'
import { MODES } from '../../model/mode.js'
import {
  LEVELS,
  settingKeysOf,
  settingName,
  settingText,
  type Level,
  type SettingKey,
  type SettingValue,
} from '../../model/policy.js'
import { RAPID_SUSPEND } from '../../model/vm-policy.js'
import { DESTAGE_BARRIERS, DESTAGE_ORDERS } from '../../model/write-back.js'
import type { GivenSettings, PolicyDocument } from '../../protocol/control/documents.js'
import type { ReadOperation } from '../../protocol/control/control-client.js'
import type { RequestOf, ResponseOf } from '../../protocol/control/routes.js'
import { commandLine } from '../command-line.js'
import { confirmed } from '../confirm.js'
import { talk } from '../output.js'
import type { PolicyTarget } from '../policy-target.js'
import { settingArguments } from './setting-arguments.js'
import { ON_STDERR, validated } from './ask.js'

type Ask = <O extends ReadOperation>(operation: O, request: RequestOf<O>) => Promise<ResponseOf<O>>

interface Draft {
  readonly target: PolicyTarget | null
  readonly settings: GivenSettings
}

const MEANING: Readonly<Record<Level, string>> = {
  disk: 'one disk alone',
  vm: 'a VM, and its disks where they say nothing else',
  cache: 'the disks of a cache, where neither they nor their VMs say anything else',
  host: 'all disks and VMs of this host, where nothing nearer says anything else',
}

/** Asks for what `draft` lacks, shows what will be set, and how to do it without being asked. */
export async function policyWizard(
  draft: Draft,
  ask: Ask,
  { yes, dryRun }: { yes: boolean; dryRun: boolean },
): Promise<{ target: PolicyTarget; settings: GivenSettings }> {
  const target = draft.target ?? (await askTarget(ask))
  const isGiven = Object.keys(draft.settings).length > 0
  const settings = isGiven ? draft.settings : await askSettings(await ask('policy.show', target))
  const words = settingArguments(settings)
  talk(`${target.level} ${target.name}: ${words.join(' ')}`)
  if (!yes && !dryRun) await confirmed(`Set this of ${target.level} ${target.name}?`, true)
  talk(`The same without questions:\n  ${policyCommandLine(target, settings)}`)
  return { target, settings }
}

async function askTarget(ask: Ask): Promise<PolicyTarget> {
  const { select } = await import('@inquirer/prompts')
  const choices = LEVELS.map((level) => ({ value: level, name: level, description: MEANING[level] }))
  const level = await select({ message: 'For what', choices }, ON_STDERR)
  const names = await NAMES[level](ask)
  if (names.length === 0) throw new VmcacheError('USAGE', `there is no ${level} yet`)
  if (level === 'host') return { level, name: names[0]! }
  const name = await select({ message: `Which ${level}`, choices: names.map((value) => ({ value })) }, ON_STDERR)
  return { level, name }
}

const NAMES: Readonly<Record<Level, (ask: Ask) => Promise<string[]>>> = {
  disk: async (ask) => (await ask('disk.list', {})).disks.map(({ disk }) => disk),
  vm: async (ask) => (await ask('vm.list', {})).vms.map(({ name }) => name),
  cache: async (ask) => (await ask('cache.list', {})).caches.map(({ name }) => name),
  host: async (ask) => [(await ask('engine.status', {})).host],
}

async function askSettings({ level, settings }: PolicyDocument): Promise<GivenSettings> {
  const known = new Map(settings.map((setting) => [setting.setting, setting]))
  const keys = [...new Set([...known.keys(), ...settingKeysOf(level)])]
  const is = (key: SettingKey): string => {
    const setting = known.get(key)
    return setting === undefined ? '' : `  ${settingText(key, setting.wanted)} (${setting.source})`
  }
  const { checkbox } = await import('@inquirer/prompts')
  const chosen = await checkbox(
    {
      message: 'What is to be set (space chooses)',
      required: true,
      choices: keys.map((key) => ({ value: key, name: `${settingName(key)}${is(key)}`, short: settingName(key) })),
    },
    ON_STDERR,
  )
  const values: Partial<Record<SettingKey, SettingValue>> = {}
  for (const key of chosen) values[key] = await askSetting(key, known.get(key)?.wanted ?? null)
  return nested(values)
}

const CHOICES: Partial<Record<SettingKey, readonly string[]>> = {
  mode: MODES,
  destageOrder: DESTAGE_ORDERS,
  destageBarrier: DESTAGE_BARRIERS,
  rapidSuspend: RAPID_SUSPEND,
}

async function askSetting(key: SettingKey, is: SettingValue): Promise<SettingValue> {
  const { input, select } = await import('@inquirer/prompts')
  const message = settingName(key)
  const choices = CHOICES[key]
  if (choices !== undefined) {
    return select(
      { message, choices: choices.map((value) => ({ value })), ...(is === null ? {} : { default: String(is) }) },
      ON_STDERR,
    )
  }
  const nothing = NOTHING[key]
  const hint = [EXPECTED[key], nothing].filter((text) => text !== undefined).join(', or ')
  const typed = await input(
    { message: `${message} (${hint})`, validate: validated((text) => read(key, text)) },
    ON_STDERR,
  )
  return read(key, typed.trim())
}

/** What is typed for null. */
const NOTHING: Partial<Record<SettingKey, string>> = {
  ...{ maxBytes: 'all', dirtyLowBytes: 'default', dirtyHighBytes: 'default' },
  ...{ idleTimeoutSeconds: 'off', suspendAt: 'off', resumeAt: 'off', storageAfterSeconds: 'off', timeZone: 'off' },
}
const EXPECTED: Partial<Record<SettingKey, string>> = {
  ...{ replacement: 'a name', minBytes: 'a size', maxBytes: 'a size', shares: 'a number' },
  ...{ dirtyLowBytes: 'a size', dirtyHighBytes: 'a size', dirtyAgeSeconds: 'a duration' },
  ...{ idleTimeoutSeconds: 'a duration', suspendAt: 'as cron has it', resumeAt: 'as cron has it' },
  ...{ storageAfterSeconds: 'a duration', timeZone: 'such as Europe/Berlin' },
}

/** USAGE where it cannot be the value of the setting. */
function read(key: SettingKey, text: string): SettingValue {
  if (text === NOTHING[key]) return null
  if (key.endsWith('Bytes')) return parseSize(text)
  if (key.endsWith('Seconds')) return parseDuration(text)
  if (text === '') throw new VmcacheError('USAGE', `that is not ${EXPECTED[key] ?? 'a value'}`)
  if (key !== 'shares') return text
  if (/^[1-9][0-9]{0,5}$|^1000000$/.test(text)) return Number(text)
  throw new VmcacheError('USAGE', `${JSON.stringify(text)} is not a whole number from 1 to 1000000`)
}

/** As a request has them. */
function nested(values: Partial<Record<SettingKey, SettingValue>>): GivenSettings {
  const {
    destageOrder: order,
    destageBarrier: barrier,
    dirtyLowBytes,
    dirtyHighBytes,
    dirtyAgeSeconds,
    ...settings
  } = values
  const writeBack = Object.entries({ order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds })
  const given = writeBack.filter(([, value]) => value !== undefined)
  return { ...settings, ...(given.length === 0 ? {} : { writeBack: Object.fromEntries(given) }) } as GivenSettings
}

/** The command line that sets it. */
export function policyCommandLine({ level, name }: PolicyTarget, settings: GivenSettings): string {
  return commandLine(['policy', 'set', `--${level}`, name, ...settingArguments(settings)])
}

import { VmcacheError } from '../base/errors.js'
import { parseDuration } from '../base/units.js'

/**
 * What an engine must know before it has a database: one table of keys with their meaning, default and rule. All other
 * wishes are policy and live in the state database. A new host needs no configuration at all.
 */

/** Where vmcache keeps things on this host; both absolute. */
export interface Directories {
  /** Host id, state database, log. */
  readonly stateDir: string
  /** Sockets. */
  readonly runDir: string
}

/** What defaults depend on. */
export interface HostFacts {
  readonly hostName: string
  readonly processors: number
  /** A private engine of a user (`--user`), in place of the machine's. */
  readonly user: boolean
  readonly homeDirectory: string
  readonly environment: Readonly<Record<string, string | undefined>>
}

interface Setting<Value> {
  readonly summary: string
  /** What a good value is, for people: ends the sentence "expected ...". */
  readonly expected: string
  readonly environment?: string
  readonly flag?: string
  /** `read` gives the value of another key. */
  readonly initial: (facts: HostFacts, read: (key: 'state-dir') => string) => Value
  /** The value of what a file (scalar) or an environment variable or flag (text) says; undefined where it is wrong. */
  readonly parse: (seen: unknown) => Value | undefined
}

const text = (pattern: RegExp) => (seen: unknown) => (typeof seen === 'string' && pattern.test(seen) ? seen : undefined)
const optional =
  <Value>(parse: (seen: unknown) => Value | undefined) =>
  (seen: unknown) =>
    seen === null ? null : parse(seen)
const wholeNumber = (minimum: number, maximum: number) => (seen: unknown) => {
  const value = typeof seen === 'string' && /^[0-9]{1,9}$/.test(seen) ? Number(seen) : seen
  return typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum
    ? value
    : undefined
}
const seconds = (seen: unknown) => {
  try {
    return typeof seen === 'string' ? parseDuration(seen) : undefined
  } catch {
    return undefined
  }
}

const ABSOLUTE_PATH = /^\/[^\0\n]*$/
const GROUP = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/
const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const

/** An engine that is well says so every second. */
const MINIMUM_HANG_SECONDS = 3
/** Calls that one origin that is a file or block device may have in flight. */
export const ORIGIN_FILE_CALLS = 8
const DEVICE_CALLS = 64
/** libuv's pool has at most 1024 threads. */
const MAXIMUM_DISKS = (1024 - DEVICE_CALLS) / ORIGIN_FILE_CALLS

const settings = {
  'host-name': setting({
    summary: 'Label of this host in lists and stamps.',
    expected: 'up to 63 letters, digits, dots and hyphens, such as kvm07',
    initial: (facts) => facts.hostName,
    parse: text(/^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/),
  }),
  'state-dir': setting({
    summary: 'Directory of the host id, the state database and the log.',
    expected: 'an absolute path',
    environment: 'VMCACHE_STATE_DIR',
    flag: 'state-dir',
    initial: (facts) =>
      facts.user
        ? `${facts.environment['XDG_STATE_HOME'] || `${facts.homeDirectory}/.local/state`}/vmcache`
        : '/var/lib/vmcache',
    parse: text(ABSOLUTE_PATH),
  }),
  'run-dir': setting({
    summary: 'Directory of the sockets.',
    expected: 'an absolute path',
    environment: 'VMCACHE_RUN_DIR',
    flag: 'run-dir',
    initial: (facts, read) => {
      if (!facts.user) return '/run/vmcache'
      const runtime = facts.environment['XDG_RUNTIME_DIR']
      return runtime ? `${runtime}/vmcache` : `${read('state-dir')}/run`
    },
    parse: text(ABSOLUTE_PATH),
  }),
  'state-url': setting({
    summary: 'State database: a SQLite file of this host, or a PostgreSQL database that hosts share.',
    expected: 'sqlite:/ABSOLUTE/PATH or postgres://USER@HOST/DATABASE, the password in state-password-file',
    initial: (_facts, read) => `sqlite:${read('state-dir')}/state.db`,
    // A password in it would be shown to everybody who may ask for the configuration.
    parse: text(/^(sqlite:\/[^\0\n]+|postgres(ql)?:\/\/([^\s\0:@/]*@)?[^\s\0@]+)$/),
  }),
  'state-password-file': setting<string | null>({
    summary: 'File with the password of the state database.',
    expected: 'an absolute path',
    initial: () => null,
    parse: optional(text(ABSOLUTE_PATH)),
  }),
  'checkpoint-dir': setting<string | null>({
    summary:
      'Directory on storage for the memory of suspended VMs, so that it takes nothing of a cache; hosts may share it. It is not made: it has to be there.',
    expected: 'an absolute path',
    environment: 'VMCACHE_CHECKPOINT_DIR',
    initial: () => null,
    parse: optional(text(ABSOLUTE_PATH)),
  }),
  'control-group': setting({
    summary: 'Group that may use the control socket.',
    expected: 'the name of a group',
    initial: () => 'vmcache',
    parse: text(GROUP),
  }),
  'disk-group': setting<string | null>({
    summary: 'Group of the disk sockets: the one that QEMU runs with. Empty: the first of libvirt-qemu, qemu, kvm.',
    expected: 'the name of a group other than control-group',
    initial: () => null,
    parse: optional(text(GROUP)),
  }),
  'io-threads': setting({
    summary: 'Threads that serve disks.',
    expected: 'a whole number from 1 to 64',
    initial: (facts) => Math.min(Math.max(facts.processors, 1), 8),
    parse: wholeNumber(1, 64),
  }),
  'max-disks': setting({
    summary: 'Disks whose origins may all hang at once without holding up others: it sizes the thread pool.',
    expected: 'a whole number from 1 to 120',
    initial: () => 64,
    parse: wholeNumber(1, MAXIMUM_DISKS),
  }),
  'stop-timeout': setting({
    summary: 'How long an engine may take to close before it is killed (nothing is lost by that).',
    expected: 'a duration such as 60s',
    initial: () => 60,
    parse: seconds,
  }),
  'hang-timeout': setting({
    summary:
      'An engine that says nothing for so long is killed, and the next one takes over (nothing is lost by that).',
    expected: 'a duration of at least 3s, such as 30s',
    initial: () => 30,
    parse: (seen) => {
      const value = seconds(seen)
      return value === undefined || value < MINIMUM_HANG_SECONDS ? undefined : value
    },
  }),
  'idle-processor-percent': setting({
    summary: 'A VM that uses less of one processor is idle, if it also leaves its disks and its consoles alone.',
    expected: 'a whole number from 1 to 100',
    initial: () => 3,
    parse: wholeNumber(1, 100),
  }),
  'idle-requests-per-minute': setting({
    summary: 'A VM that sends fewer requests to its disks is idle, if it also leaves the processor alone.',
    expected: 'a whole number from 1 to 1000000',
    initial: () => 100,
    parse: wholeNumber(1, 1_000_000),
  }),
  'log-level': setting({
    summary: 'The least that is logged.',
    expected: LOG_LEVELS.join(', '),
    environment: 'VMCACHE_LOG_LEVEL',
    initial: (): (typeof LOG_LEVELS)[number] => 'info',
    parse: (seen) => LOG_LEVELS.find((level) => level === seen),
  }),
}

function setting<Value>(definition: Setting<Value>): Setting<Value> {
  return definition
}

export type ConfigurationKey = keyof typeof settings
export type Configuration = {
  readonly [Key in ConfigurationKey]: (typeof settings)[Key] extends Setting<infer Value> ? Value : never
}

/** The keys with what people need to know of them, in the order of the documentation. */
export const CONFIGURATION_KEYS: Readonly<
  Record<ConfigurationKey, Pick<Setting<unknown>, 'summary' | 'expected' | 'environment' | 'flag'>>
> = settings

export function isConfigurationKey(key: string): key is ConfigurationKey {
  return Object.hasOwn(settings, key)
}

/** What one source says of a key. `source` is for people: `file /etc/vmcache/config.yaml line 3`, `environment VMCACHE_RUN_DIR`. */
export interface Said {
  readonly value: unknown
  readonly source: string
}

export interface ResolvedConfiguration {
  readonly values: Configuration
  /** Where each value comes from: `default` or the source that said it. */
  readonly sources: Readonly<Record<ConfigurationKey, string>>
}

/**
 * The value of every key: what `said` says, else the default. Throws BAD_CONFIG with source, key, seen and expected for a
 * value that breaks its rule, and for values that break a rule together.
 */
export function resolveConfiguration(
  said: ReadonlyMap<ConfigurationKey, Said>,
  facts: HostFacts,
): ResolvedConfiguration {
  const valueOf = <Value>(key: ConfigurationKey, definition: Setting<Value>): Value => {
    const entry = said.get(key)
    if (entry === undefined) return definition.initial(facts, () => valueOf('state-dir', settings['state-dir']))
    const value = definition.parse(entry.value)
    if (value === undefined) throw badValue(entry, key, definition.expected)
    return value
  }
  const keys = Object.keys(settings) as ConfigurationKey[]
  const values = Object.fromEntries(
    keys.map((key) => [key, valueOf<unknown>(key, settings[key])]),
  ) as unknown as Configuration
  const sources = Object.fromEntries(keys.map((key) => [key, said.get(key)?.source ?? 'default']))

  if (values['disk-group'] === values['control-group']) {
    throw badValue(said.get('disk-group')!, 'disk-group', settings['disk-group'].expected)
  }
  return { values, sources: sources as Record<ConfigurationKey, string> }
}

/**
 * Threads of the pool on which file calls wait: as many as all origins may have calls in flight, and some for the cache
 * devices, so that a hung origin never takes the last one.
 */
export function threadPoolSize(configuration: Configuration): number {
  return configuration['max-disks'] * ORIGIN_FILE_CALLS + DEVICE_CALLS
}

export function directoriesOf(configuration: Configuration): Directories {
  return { stateDir: configuration['state-dir'], runDir: configuration['run-dir'] }
}

function badValue({ source, value }: Said, key: string, expected: string): VmcacheError {
  // The password of a URL stays where it was typed.
  const seen = typeof value === 'string' ? value.replace(/:[^:@/]*@/, ':...@') : value
  const shown = JSON.stringify(seen) ?? String(seen)
  const short = shown.length > 60 ? `${shown.slice(0, 60)}...` : shown
  return new VmcacheError('BAD_CONFIG', `${source}: ${key} is ${short}: expected ${expected}`, {
    details: { source, key, seen, expected },
  })
}

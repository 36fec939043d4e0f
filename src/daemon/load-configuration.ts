import { readFile } from 'node:fs/promises'
import { availableParallelism, homedir, hostname } from 'node:os'
import { resolve } from 'node:path'
import { messageOf, systemCode, VmcacheError } from '../base/errors.js'
import {
  CONFIGURATION_KEYS,
  isConfigurationKey,
  resolveConfiguration,
  type ConfigurationKey,
  type ResolvedConfiguration,
  type Said,
} from '../model/configuration.js'

export const SYSTEM_CONFIGURATION_FILE = '/etc/vmcache/config.yaml'
const MAXIMUM_FILE_BYTES = 1024 * 1024

export interface ConfigurationOptions {
  /** Values of command line flags, by name without dashes: `config`, `state-dir`, `run-dir`. */
  readonly flags: Readonly<Record<string, string | undefined>>
  /** A private engine (`--user`, `VMCACHE_USER=1`). */
  readonly user: boolean
  readonly environment: Readonly<Record<string, string | undefined>>
}

export interface LoadedConfiguration extends ResolvedConfiguration {
  /** The file that was read; null where there was none. */
  readonly file: string | null
}

/**
 * The configuration from flags, environment, file and defaults, in this order. A file that is named must be there; the
 * system's file need not be, and a private engine does not read it. Throws BAD_CONFIG.
 */
export async function loadConfiguration(options: ConfigurationOptions): Promise<LoadedConfiguration> {
  const { environment, flags, user } = options
  const facts = {
    hostName: hostname(),
    processors: availableParallelism(),
    user,
    homeDirectory: homedir(),
    environment,
  }
  const named = flags['config'] ?? (environment['VMCACHE_CONFIG'] || undefined)
  const standard = user
    ? `${environment['XDG_CONFIG_HOME'] || `${facts.homeDirectory}/.config`}/vmcache/config.yaml`
    : SYSTEM_CONFIGURATION_FILE
  const path = named === undefined ? standard : resolve(named)
  const content = await readConfigurationFile(path, named !== undefined)

  const said = content === null ? new Map<ConfigurationKey, Said>() : await parseConfiguration(content, path)
  for (const [key, { environment: variable, flag }] of Object.entries(CONFIGURATION_KEYS)) {
    const isPath = key.endsWith('-dir')
    const fromEnvironment = variable === undefined ? undefined : environment[variable] || undefined
    if (fromEnvironment !== undefined) {
      const value = isPath ? resolve(fromEnvironment) : fromEnvironment
      said.set(key as ConfigurationKey, { value, source: `environment ${variable}` })
    }
    const fromFlag = flag === undefined ? undefined : flags[flag]
    if (fromFlag !== undefined) {
      said.set(key as ConfigurationKey, { value: isPath ? resolve(fromFlag) : fromFlag, source: `flag --${flag}` })
    }
  }
  return { ...resolveConfiguration(said, facts), file: content === null ? null : path }
}

async function readConfigurationFile(path: string, required: boolean): Promise<string | null> {
  try {
    const content = await readFile(path, 'utf8')
    if (content.length <= MAXIMUM_FILE_BYTES) return content
  } catch (error) {
    if (!required && ['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error) ?? '')) return null
    throw new VmcacheError('BAD_CONFIG', `configuration file ${path} cannot be read: ${messageOf(error)}`, {
      hint: 'name a file that is there with --config or VMCACHE_CONFIG, or none',
      cause: error,
    })
  }
  throw new VmcacheError('BAD_CONFIG', `configuration file ${path} is larger than ${MAXIMUM_FILE_BYTES} bytes`)
}

/**
 * What the text of a configuration file says: a flat YAML map of known keys to scalars. Throws BAD_CONFIG with file, line,
 * what was seen and what was expected. The values are not checked against their rules.
 */
export async function parseConfiguration(content: string, path: string): Promise<Map<ConfigurationKey, Said>> {
  const { isMap, isScalar, LineCounter, parseDocument } = await import('yaml')
  const lines = new LineCounter()
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false })
  const at = (offset: number | undefined) => `file ${path} line ${lines.linePos(offset ?? 0).line || 1}`
  const refuse = (source: string, message: string, details: Record<string, unknown> = {}) =>
    new VmcacheError('BAD_CONFIG', `${source}: ${message}`, {
      hint: `the keys are ${Object.keys(CONFIGURATION_KEYS).join(', ')}`,
      details: { source, ...details },
    })

  const [broken] = document.errors
  if (broken !== undefined) throw refuse(at(broken.pos[0]), `not YAML: ${messageOf(broken)}`)
  const said = new Map<ConfigurationKey, Said>()
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) return said
  if (!isMap(document.contents))
    throw refuse(at(document.contents.range?.[0]), 'expected lines of the form "key: value"')

  for (const { key: keyNode, value: valueNode } of document.contents.items) {
    if (!isScalar(keyNode)) throw refuse(`file ${path}`, 'expected lines of the form "key: value"')
    const source = at(keyNode.range?.[0])
    const key = String(keyNode.value)
    if (!isConfigurationKey(key)) throw refuse(source, `unknown key ${JSON.stringify(key)}`, { key })
    if (valueNode !== null && !isScalar(valueNode)) {
      const { expected } = CONFIGURATION_KEYS[key]
      throw refuse(source, `${key} is a list or a map: expected ${expected}`, { key, expected })
    }
    said.set(key, { value: valueNode === null ? null : valueNode.value, source })
  }
  return said
}

import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { formatSize, parseSize } from '../../base/units.js'
import { MODES, type Mode } from '../../model/mode.js'
import { DESTAGE_ORDERS, type DestageOrder } from '../../model/write-back.js'
import { checkedDiskName, defaultDiskName } from '../../model/names.js'
import type { AttachRequest, CacheDocument, DiskDocument } from '../../protocol/control/documents.js'
import { commandLine } from '../command-line.js'
import { confirmed } from '../confirm.js'
import { absoluteOrigin, isUri } from '../origin.js'
import { talk } from '../output.js'
import { settingArguments } from './setting-arguments.js'
import { ON_STDERR, validated } from './ask.js'

type Draft = Omit<AttachRequest, 'cache' | 'origin'> & { readonly cache: string | null; readonly origin: string | null }

interface Context {
  readonly caches: readonly CacheDocument[]
  readonly disks: readonly DiskDocument[]
  readonly yes: boolean
}

export const MODE_MEANING: Readonly<Record<Mode, string>> = {
  'write-through': 'reads are cached; writes go to the origin and into the cache',
  'write-back': 'reads are cached; a write is answered by the cache and goes to the origin later',
  'write-around': 'reads are cached; writes go to the origin alone',
  'pass-through': 'nothing is cached',
}

/** Asks for what `draft` lacks, shows what will be done, and how to do it without being asked. */
export async function attachWizard(draft: Draft, { caches, disks, yes }: Context): Promise<AttachRequest> {
  const cache = draft.cache ?? (await askCache(caches))
  const origin = draft.origin ?? (await askOrigin())
  const name = draft.name ?? (await askName(origin, disks))
  const mode = draft.mode ?? (await askMode())
  const order = mode === 'write-back' && draft.writeBack?.order === undefined ? await askOrder() : undefined
  const maxBytes = draft.maxBytes === undefined ? await askMaximum() : draft.maxBytes
  const request: AttachRequest = {
    ...{ ...draft, cache, origin, name },
    ...(mode === undefined ? {} : { mode }),
    ...(order === undefined ? {} : { writeBack: { ...draft.writeBack, order } }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  }
  talk(`Disk ${name}: ${origin} through cache ${cache}; ${chosen(mode, maxBytes)}`)
  if (!yes && !draft.dryRun) await confirmed(`Attach ${name}?`, true)
  talk(`The same without questions:\n  ${attachCommandLine(request)}`)
  return request
}

async function askCache(caches: readonly CacheDocument[]): Promise<string> {
  if (caches.length === 0) {
    throw new VmcacheError('CACHE_NOT_FOUND', 'there is no cache yet', { hint: 'make one: vmcache cache create' })
  }
  const { select } = await import('@inquirer/prompts')
  return select(
    {
      message: 'Cache',
      choices: caches.map(({ name, chunks, chunkSizeBytes, sizeBytes }) => ({
        value: name,
        name: `${name}  ${formatSize(chunks.free * chunkSizeBytes)} free of ${formatSize(sizeBytes)}`,
      })),
    },
    ON_STDERR,
  )
}

async function askOrigin(): Promise<string> {
  const { input } = await import('@inquirer/prompts')
  const text = await input(
    { message: 'Image file, block device or NBD URI', validate: validated(checkedOrigin) },
    ON_STDERR,
  )
  return absoluteOrigin(text.trim())
}

/** Throws USAGE where a path is not there or is a directory. */
function checkedOrigin(text: string): void {
  if (isUri(text)) return
  const status = text === '' ? undefined : statSync(resolve(text), { throwIfNoEntry: false })
  if (status === undefined) throw new VmcacheError('USAGE', `${text === '' ? 'that' : resolve(text)} is not there`)
  if (status.isDirectory()) throw new VmcacheError('USAGE', `${resolve(text)} is a directory: expected an image`)
}

async function askName(origin: string, disks: readonly DiskDocument[]): Promise<string> {
  const { input } = await import('@inquirer/prompts')
  const isFree = (name: string): void => {
    checkedDiskName(name)
    if (disks.some(({ disk }) => disk === name))
      throw new VmcacheError('DISK_EXISTS', `there is a disk ${name} already`)
  }
  const name = await input(
    { message: 'Name of the disk', default: defaultDiskName(origin), validate: validated(isFree) },
    ON_STDERR,
  )
  return name.trim()
}

function chosen(mode: string | undefined, maxBytes: number | null | undefined): string {
  const limit = maxBytes === null ? 'the whole cache' : `${formatSize(maxBytes ?? 0)} of the cache`
  const parts = [mode ?? [], maxBytes === undefined ? [] : `it may use ${limit}`].flat()
  return [...parts, 'all else as its cache and its host say'].join(', ')
}

const INHERITED = {
  value: undefined,
  name: 'inherited',
  description: 'what its cache or its host say; write-through where they say nothing',
}

async function askMode(): Promise<Mode | undefined> {
  const { select } = await import('@inquirer/prompts')
  const choices = MODES.map((mode) => ({ value: mode, name: mode, description: MODE_MEANING[mode] }))
  return select({ message: 'Mode', choices: [INHERITED, ...choices] }, ON_STDERR)
}

const ORDER_MEANING: Readonly<Record<DestageOrder, string>> = {
  ordered: 'the origin is always a state in which a power cut could have left the disk',
  relaxed: 'faster on slow storage; should the cache be lost, the origin may be in a state that the disk never had',
}

async function askOrder(): Promise<DestageOrder> {
  const { select } = await import('@inquirer/prompts')
  const choices = DESTAGE_ORDERS.map((order) => ({ value: order, name: order, description: ORDER_MEANING[order] }))
  return select({ message: 'Order in which the origin gets writes', choices }, ON_STDERR)
}

/** Undefined: what it inherits. */
async function askMaximum(): Promise<number | null | undefined> {
  const { input } = await import('@inquirer/prompts')
  const [inherited, all] = ['inherited', 'all']
  const text = await input(
    {
      message: 'How much of the cache may it use at most (a size, all, or inherited)',
      default: inherited,
      validate: validated((typed) => [inherited, all].includes(typed) || parseSize(typed)),
    },
    ON_STDERR,
  )
  if (text.trim() === inherited) return undefined
  return text.trim() === all ? null : parseSize(text.trim())
}

/** The command line that makes the request. */
export function attachCommandLine(request: AttachRequest): string {
  const { cache, origin, name, readOnly, exclusive, dryRun: _, ...settings } = request
  return commandLine([
    ...['cache', 'attach', cache, origin],
    ...(name === null || name === defaultDiskName(origin) ? [] : ['--name', name]),
    ...settingArguments(settings),
    ...(readOnly ? ['--read-only'] : []),
    ...(exclusive ? ['--exclusive'] : []),
  ])
}

import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { formatSize, parseSize } from '../../base/units.js'
import { MODES, type Mode } from '../../model/mode.js'
import {
  DEFAULT_WRITE_BACK,
  DESTAGE_ORDERS,
  type DestageOrder,
  type WriteBackSettings,
} from '../../model/write-back.js'
import { checkedDiskName, defaultDiskName } from '../../model/names.js'
import type { AttachRequest, CacheDocument, DiskDocument } from '../../protocol/control/documents.js'
import { commandLine } from '../command-line.js'
import { confirmed } from '../confirm.js'
import { DEFAULT_REPLACEMENT, DEFAULT_SHARES } from '../disk-defaults.js'
import { absoluteOrigin, isUri } from '../origin.js'
import { talk } from '../output.js'
import { ON_STDERR, typedSize, validated } from './ask.js'

type Draft = Omit<AttachRequest, 'cache' | 'origin'> & { readonly cache: string | null; readonly origin: string | null }

interface Context {
  readonly caches: readonly CacheDocument[]
  readonly disks: readonly DiskDocument[]
  readonly yes: boolean
}

const MEANING: Readonly<Record<Mode, string>> = {
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
  const mode = await askMode(draft.mode)
  const writeBack = mode === 'write-back' ? await askWriteBack(draft.writeBack) : draft.writeBack
  const maxBytes = draft.maxBytes ?? (await askMaximum())
  const request = { ...draft, cache, origin, name, mode, writeBack, maxBytes }
  const limit = maxBytes === null ? 'may use the whole cache' : `may use ${formatSize(maxBytes)} of the cache`
  talk(`Disk ${name}: ${origin} through cache ${cache}, ${mode}; ${limit}`)
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

async function askMode(initial: Mode): Promise<Mode> {
  const { select } = await import('@inquirer/prompts')
  const choices = MODES.map((mode) => ({ value: mode, name: mode, description: MEANING[mode] }))
  return select({ message: 'Mode', choices, default: initial }, ON_STDERR)
}

const ORDER_MEANING: Readonly<Record<DestageOrder, string>> = {
  ordered: 'the origin is always a state in which a power cut could have left the disk',
  relaxed: 'faster on slow storage; should the cache be lost, the origin may be in a state that the disk never had',
}

async function askWriteBack(initial: WriteBackSettings): Promise<WriteBackSettings> {
  const { select } = await import('@inquirer/prompts')
  const choices = DESTAGE_ORDERS.map((order) => ({ value: order, name: order, description: ORDER_MEANING[order] }))
  const order = await select(
    { message: 'Order in which the origin gets writes', choices, default: initial.order },
    ON_STDERR,
  )
  return { ...initial, order }
}

async function askMaximum(): Promise<number | null> {
  const { input } = await import('@inquirer/prompts')
  const all = 'all'
  const text = await input(
    {
      message: 'How much of the cache may it use at most',
      default: all,
      validate: validated((typed) => typed === all || parseSize(typed)),
    },
    ON_STDERR,
  )
  return text.trim() === all ? null : parseSize(text.trim())
}

/** The command line that makes the request. */
export function attachCommandLine(request: AttachRequest): string {
  const { cache, origin, name, mode, replacement, minBytes, maxBytes, shares, writeBack, readOnly, exclusive } = request
  return commandLine([
    ...['cache', 'attach', cache, origin],
    ...(name === null || name === defaultDiskName(origin) ? [] : ['--name', name]),
    ...(mode === 'write-through' ? [] : ['--mode', mode]),
    ...(replacement === DEFAULT_REPLACEMENT ? [] : ['--replacement', replacement]),
    ...(minBytes === 0 ? [] : ['--min', typedSize(minBytes)]),
    ...(maxBytes === null ? [] : ['--max', typedSize(maxBytes)]),
    ...(shares === DEFAULT_SHARES ? [] : ['--shares', String(shares)]),
    ...writeBackArguments(writeBack),
    ...(readOnly ? ['--read-only'] : []),
    ...(exclusive ? ['--exclusive'] : []),
  ])
}

function writeBackArguments(settings: WriteBackSettings): string[] {
  const { order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds } = settings
  return [
    ...(order === DEFAULT_WRITE_BACK.order ? [] : ['--destage', order]),
    ...(barrier === DEFAULT_WRITE_BACK.barrier ? [] : ['--destage-barrier', barrier]),
    ...(dirtyLowBytes === null ? [] : ['--dirty-low', typedSize(dirtyLowBytes)]),
    ...(dirtyHighBytes === null ? [] : ['--dirty-high', typedSize(dirtyHighBytes)]),
    ...(dirtyAgeSeconds === DEFAULT_WRITE_BACK.dirtyAgeSeconds ? [] : ['--dirty-age', `${dirtyAgeSeconds}s`]),
  ]
}

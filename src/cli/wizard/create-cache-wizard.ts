import { statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { VmcacheError } from '../../base/errors.js'
import { formatSize } from '../../base/units.js'
import { DEFAULT_CHUNK_BYTES, PAGE_BYTES } from '../../model/geometry.js'
import { checkedCacheName } from '../../model/names.js'
import type { CreateCacheRequest, DeviceSpecification } from '../../protocol/control/documents.js'
import { commandLine } from '../command-line.js'
import { confirmed } from '../confirm.js'
import { indexBytesFor } from '../index-memory.js'
import { talk } from '../output.js'
import { ON_STDERR, askSize, typedSize, validated } from './ask.js'
import { candidateDevices, type CandidateDevice } from './candidate-devices.js'

type Draft = Omit<CreateCacheRequest, 'name'> & { readonly name: string | null }

/** Asks for what `draft` lacks, shows what will be done and what it costs, and how to do it without being asked. */
export async function createCacheWizard(draft: Draft, options: { yes: boolean }): Promise<CreateCacheRequest> {
  const name = draft.name ?? (await askName())
  const devices = draft.devices.length > 0 ? draft.devices : await askDevices(name)
  const request = { ...draft, name, devices }
  talk(await summary(request))
  if (!options.yes && !draft.dryRun) await confirmed(`Create cache ${name}?`, true)
  talk(`The same without questions:\n  ${createCommandLine(request)}`)
  return request
}

async function askName(): Promise<string> {
  const { input } = await import('@inquirer/prompts')
  const name = await input(
    { message: 'Name of the cache', default: 'fast', validate: validated(checkedCacheName) },
    ON_STDERR,
  )
  return name.trim()
}

async function askDevices(cache: string): Promise<DeviceSpecification[]> {
  const candidates = await candidateDevices()
  const chosen = candidates.length === 0 ? [] : await chooseDevices(candidates)
  return chosen.length > 0 ? chosen : [await askFile(cache)]
}

async function chooseDevices(candidates: readonly CandidateDevice[]): Promise<DeviceSpecification[]> {
  const { checkbox } = await import('@inquirer/prompts')
  const paths = await checkbox(
    {
      message: 'Devices that hold nothing (space chooses; none: a file)',
      choices: candidates.map(({ path, sizeBytes, description }) => ({
        value: path,
        name: `${path}  ${formatSize(sizeBytes)}  ${description}`,
      })),
    },
    ON_STDERR,
  )
  return paths.map((path) => ({ path, sizeBytes: null }))
}

async function askFile(cache: string): Promise<DeviceSpecification> {
  const { input } = await import('@inquirer/prompts')
  const path = await input(
    {
      message: 'File to keep the cache in (on fast local storage)',
      default: `/var/cache/vmcache/${cache}`,
      validate: validated(checkedFile),
    },
    ON_STDERR,
  )
  const isThere = statSync(resolve(path.trim()), { throwIfNoEntry: false }) !== undefined
  return { path: resolve(path.trim()), sizeBytes: isThere ? null : await askSize('Size of the file', '10g') }
}

/** Throws USAGE unless a file can be at `path`: its directory is there, or the next one up is. */
function checkedFile(path: string): void {
  const file = resolve(path)
  if (path === '' || statSync(file, { throwIfNoEntry: false })?.isDirectory() === true) {
    throw new VmcacheError('USAGE', `${file} is a directory: expected a file or a block device`)
  }
  if (statSync(dirname(file), { throwIfNoEntry: false }) === undefined) {
    throw new VmcacheError('USAGE', `the directory ${dirname(file)} is not there`)
  }
}

async function summary({ name, devices, chunkSizeBytes }: CreateCacheRequest): Promise<string> {
  const known = new Map((await candidateDevices()).map(({ path, sizeBytes }) => [path, sizeBytes]))
  const sizes = devices.map(({ path, sizeBytes }) => sizeBytes ?? known.get(path) ?? fileBytes(path))
  const total = sizes.reduce((sum, bytes) => sum + bytes, 0)
  return [
    `Cache ${name}: ${formatSize(total)} in chunks of ${formatSize(chunkSizeBytes)}`,
    ...devices.map(({ path }, index) => `  ${path}  ${formatSize(sizes[index]!)}`),
    `Its index needs up to ${formatSize(indexBytesFor(total))} of memory when it is full.`,
  ].join('\n')
}

function fileBytes(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

/** The command line that makes the request. */
export function createCommandLine(request: CreateCacheRequest): string {
  const { name, devices, blockSizeBytes, chunkSizeBytes, force } = request
  return commandLine([
    ...['cache', 'create', name],
    ...devices.flatMap(({ path, sizeBytes }) => [
      '--device',
      sizeBytes === null ? path : `${path},size=${typedSize(sizeBytes)}`,
    ]),
    ...(blockSizeBytes === PAGE_BYTES ? [] : ['--block-size', typedSize(blockSizeBytes)]),
    ...(chunkSizeBytes === DEFAULT_CHUNK_BYTES ? [] : ['--chunk-size', typedSize(chunkSizeBytes)]),
    ...(force ? ['--force'] : []),
  ])
}

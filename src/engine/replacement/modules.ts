import { isAbsolute } from 'node:path'
import { pathToFileURL } from 'node:url'
import { VmcacheError, messageOf } from '../../base/errors.js'
import { arc } from './arc.js'
import { clock } from './clock.js'
import { fifo } from './fifo.js'
import { lru } from './lru.js'
import type { ReplacementModule } from './replacement.js'
import { s3Fifo } from './s3-fifo.js'
import { sieve } from './sieve.js'

/** Every replacement policy that comes with vmcache. */
export const REPLACEMENT_MODULES: readonly ReplacementModule[] = [s3Fifo, arc, clock, fifo, lru, sieve]

/**
 * The policy of that name, or the default export of the module at that absolute path (a third party's policy). BAD_CONFIG
 * for an unknown name and for a file that cannot be loaded or is not a {@link ReplacementModule}.
 */
export async function loadReplacement(nameOrPath: string): Promise<ReplacementModule> {
  const found = REPLACEMENT_MODULES.find((module) => module.name === nameOrPath)
  if (found !== undefined) return found
  if (!isAbsolute(nameOrPath)) {
    throw new VmcacheError('BAD_CONFIG', `replacement ${JSON.stringify(nameOrPath)} is not known`, {
      hint: `use ${REPLACEMENT_MODULES.map((module) => module.name).join(', ')}, or the absolute path of a module`,
    })
  }
  return checked(nameOrPath, await imported(nameOrPath))
}

async function imported(path: string): Promise<unknown> {
  try {
    return ((await import(pathToFileURL(path).href)) as { default?: unknown }).default
  } catch (error) {
    throw new VmcacheError('BAD_CONFIG', `replacement module ${path} cannot be loaded: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

const PARTS = { name: 'string', summary: 'string', exact: 'function', laid: 'function' } as const
const LAID_PARTS = ['inserted', 'hit', 'reclaimed', 'resized'] as const
const EXACT_PARTS = ['access', 'remove'] as const
/** Capacity for the try-out of a module that was loaded by path. */
const TRIAL_PAGES = 64

/** Looks at the shape, and lets both forms do a few steps: a mistake is found here rather than on the data path. */
function checked(path: string, loaded: unknown): ReplacementModule {
  const refuse = (reason: string, cause?: unknown): never => {
    throw new VmcacheError('BAD_CONFIG', `${path} is not a replacement module: ${reason}`, {
      hint: 'its default export must be a ReplacementModule',
      ...(cause === undefined ? {} : { cause }),
    })
  }
  if (typeof loaded !== 'object' || loaded === null)
    return refuse(`its default export is ${loaded === null ? 'null' : typeof loaded}, expected an object`)
  for (const [part, type] of Object.entries(PARTS)) {
    const seen = typeof (loaded as Record<string, unknown>)[part]
    if (seen !== type) refuse(`${part} is ${seen}, expected ${type}`)
  }
  const module = loaded as ReplacementModule
  if (REPLACEMENT_MODULES.some((known) => known.name === module.name))
    refuse(`its name ${JSON.stringify(module.name)} is taken`)
  let fault: string | undefined
  try {
    fault = faultOfLaid(module) ?? faultOfExact(module)
  } catch (error) {
    refuse(`it threw: ${messageOf(error)}`, error)
  }
  return fault === undefined ? module : refuse(fault)
}

function faultOfLaid(module: ReplacementModule): string | undefined {
  const laid = module.laid(TRIAL_PAGES)
  for (const part of LAID_PARTS) if (typeof laid[part] !== 'function') return `laid() has no ${part}()`
  for (let page = 0; page < 2 * TRIAL_PAGES; page++) {
    const inserted = laid.inserted(page)
    const hit = laid.hit(inserted)
    const reclaimed = laid.reclaimed(page, hit)
    if (!isHeat(inserted)) return `inserted() gave ${inserted}, expected a whole number from 0 to 255`
    if (!isHeat(hit)) return `hit() gave ${hit}, expected a whole number from 0 to 255`
    if (reclaimed !== -1 && !isHeat(reclaimed))
      return `reclaimed() gave ${reclaimed}, expected -1 or a whole number from 0 to 255`
  }
  laid.resized(2 * TRIAL_PAGES)
  return undefined
}

function faultOfExact(module: ReplacementModule): string | undefined {
  const exact = module.exact(TRIAL_PAGES)
  for (const part of EXACT_PARTS) if (typeof exact[part] !== 'function') return `exact() has no ${part}()`
  for (let key = 0; key < 2 * TRIAL_PAGES; key++) exact.access(key)
  return exact.size <= TRIAL_PAGES ? undefined : `exact(${TRIAL_PAGES}) holds ${exact.size} keys`
}

function isHeat(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 255
}

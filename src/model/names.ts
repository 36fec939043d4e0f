import { VmcacheError } from '../base/errors.js'

/** Longest name of a cache, and of a disk, in characters. */
export const MAXIMUM_CACHE_NAME = 64
export const MAXIMUM_DISK_NAME = 128

const PART = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const RULE = 'letters, digits, ".", "_" and "-", beginning with a letter or digit'
/** Endings that say how an image is stored, not what it is. */
const IMAGE_ENDING = /\.(img|raw|iso|qcow2?|vmdk|vdi|vhdx?|bin|dd|disk)$/i

/** Returns `name` if a cache may be called so; BAD_NAME otherwise. */
export function checkedCacheName(name: string): string {
  if (name.length <= MAXIMUM_CACHE_NAME && PART.test(name)) return name
  throw new VmcacheError('BAD_NAME', `cache name ${JSON.stringify(name)} is not valid`, {
    hint: `use 1 to ${MAXIMUM_CACHE_NAME} characters: ${RULE}`,
  })
}

/** Returns `name` if a disk may be called so: like a cache, and in parts with "/" between them; BAD_NAME otherwise. */
export function checkedDiskName(name: string): string {
  if (name.length <= MAXIMUM_DISK_NAME && name.split('/').every((part) => PART.test(part))) return name
  throw new VmcacheError('BAD_NAME', `disk name ${JSON.stringify(name)} is not valid`, {
    hint: `use 1 to ${MAXIMUM_DISK_NAME} characters: ${RULE}; "/" between parts`,
  })
}

/**
 * The disk name that an origin gets when the user gives none: the base name of the image without an ending that says how it
 * is stored (`/images/web01.qcow2`: `web01`, `/images/db.2026`: `db.2026`); of an NBD URI its export name, else its
 * socket's base name or its host. Characters that no name may have become "-". USAGE where nothing is left.
 */
export function defaultDiskName(origin: string): string {
  const name = lastPart(origin)
    .replace(IMAGE_ENDING, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, MAXIMUM_DISK_NAME)
  if (name !== '') return name
  throw new VmcacheError('USAGE', `no disk name can be made out of the origin ${origin}`, {
    hint: 'name it: --name DISK',
  })
}

function lastPart(origin: string): string {
  const base = (path: string) => path.split('/').findLast((part) => part !== '') ?? ''
  if (!/^nbds?(\+unix)?:/.test(origin) || !URL.canParse(origin)) return base(origin)
  const uri = new URL(origin)
  return (
    base(decoded(uri.pathname)) ||
    base(uri.searchParams.get('socket') ?? '').replace(/\.sock(et)?$/, '') ||
    uri.hostname
  )
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

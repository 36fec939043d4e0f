import { messageOf, systemCode, VmcacheError, type ErrorCode } from '../../base/errors.js'
import { OriginError } from './origin.js'

/** What a failed open of an origin means to its administrator. */
const OPEN_FAILURES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['ORIGIN_NOT_FOUND', 'it does not exist'],
  ENOTDIR: ['ORIGIN_NOT_FOUND', 'it does not exist'],
  ENXIO: ['ORIGIN_NOT_FOUND', 'no device is behind it'],
  ENODEV: ['ORIGIN_NOT_FOUND', 'no device is behind it'],
  ENOMEDIUM: ['ORIGIN_NOT_FOUND', 'it holds no medium'],
  EACCES: ['DENIED', 'permission denied'],
  EPERM: ['DENIED', 'permission denied'],
  EROFS: ['DENIED', 'it is read-only; attach it with --read-only'],
}

/** The error for an origin that could not be opened or looked at. */
export function originOpenError(path: string, cause: unknown): VmcacheError {
  if (cause instanceof VmcacheError) return cause
  const [code, reason] = OPEN_FAILURES[systemCode(cause) ?? ''] ?? ['ORIGIN_FAILED', messageOf(cause)]
  return new VmcacheError(code, `cannot open origin ${path}: ${reason}`, { details: { origin: path }, cause })
}

/** Codes that an NBD client is told of as they are; everything else is EIO. */
const ERRNOS: Readonly<Record<string, OriginError['errno']>> = {
  ENOSPC: 'ENOSPC',
  EDQUOT: 'ENOSPC',
  EFBIG: 'ENOSPC',
  EPERM: 'EPERM',
  EACCES: 'EPERM',
  EROFS: 'EPERM',
}

/** The failure of one call. */
export function originCallError(path: string, action: string, cause: unknown): OriginError {
  if (cause instanceof OriginError) return cause
  const errno = ERRNOS[systemCode(cause) ?? ''] ?? 'EIO'
  return new OriginError(`origin ${path}: cannot ${action}: ${messageOf(cause)}`, errno, { cause })
}

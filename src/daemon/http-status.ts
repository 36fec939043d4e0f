import { ERROR_CODES, type ErrorCode, type ExitName } from '../base/errors.js'

const STATUS: Readonly<Record<ExitName, number>> = {
  ok: 200,
  failed: 500,
  usage: 400,
  'not-found': 404,
  conflict: 409,
  'no-space': 507,
  'engine-unavailable': 503,
  refused: 422,
  partial: 500,
  hypervisor: 502,
  origin: 502,
  denied: 403,
  timeout: 504,
  interrupted: 409,
}

/** The HTTP status of an error: for curl and for proxies; programs read the code in the document. */
export function httpStatus(code: ErrorCode): number {
  return STATUS[ERROR_CODES[code]]
}

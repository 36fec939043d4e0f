/**
 * The one table of error codes and exit codes. Every expected failure is a {@link VmcacheError}: what failed, which
 * object, what was seen and what was expected, and what to do. Anything else that is thrown is a bug.
 */

/** Exit codes of the command line, by name. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  'not-found': 3,
  conflict: 4,
  'no-space': 5,
  'engine-unavailable': 6,
  refused: 7,
  partial: 8,
  hypervisor: 9,
  origin: 10,
  denied: 11,
  timeout: 12,
  interrupted: 130,
} as const

export type ExitName = keyof typeof EXIT

/** Every error code, with the exit code that it maps to. Codes are kept: scripts compare them. */
export const ERROR_CODES = {
  INTERNAL: 'failed',
  FAILED: 'failed',
  DOCTOR_FAILED: 'failed',
  USAGE: 'usage',
  BAD_SIZE: 'usage',
  BAD_DURATION: 'usage',
  BAD_NAME: 'usage',
  BAD_URI: 'usage',
  BAD_CONFIG: 'usage',
  BAD_REQUEST: 'usage',
  CACHE_NOT_FOUND: 'not-found',
  DISK_NOT_FOUND: 'not-found',
  DEVICE_NOT_FOUND: 'not-found',
  JOB_NOT_FOUND: 'not-found',
  VM_NOT_FOUND: 'not-found',
  HOST_NOT_FOUND: 'not-found',
  NOT_FOUND: 'not-found',
  CACHE_EXISTS: 'conflict',
  DISK_EXISTS: 'conflict',
  VM_EXISTS: 'conflict',
  IN_USE: 'conflict',
  WRONG_STATE: 'conflict',
  JOB_CONFLICT: 'conflict',
  LEASE_HELD: 'conflict',
  NO_SPACE: 'no-space',
  ENGINE_UNAVAILABLE: 'engine-unavailable',
  ENGINE_START_FAILED: 'engine-unavailable',
  REFUSED: 'refused',
  DEVICE_NOT_EMPTY: 'refused',
  DEVICE_FOREIGN: 'refused',
  DEVICE_MISSING: 'refused',
  ORIGIN_CHANGED: 'refused',
  DIRTY_DATA: 'refused',
  PARTIAL: 'partial',
  HYPERVISOR: 'hypervisor',
  ORIGIN_FAILED: 'origin',
  ORIGIN_NOT_FOUND: 'origin',
  ORIGIN_SIZE: 'origin',
  DENIED: 'denied',
  TIMEOUT: 'timeout',
  INTERRUPTED: 'interrupted',
  DEVICE_FAILED: 'failed',
  CORRUPT: 'failed',
} as const satisfies Record<string, ExitName>

export type ErrorCode = keyof typeof ERROR_CODES

/** What a script gets in place of a result: `{"error": ErrorDocument}`. */
export interface ErrorDocument {
  code: ErrorCode
  exit: number
  message: string
  hint: string | null
  details: Record<string, unknown>
}

/** An expected failure. `message` is one line: what, which object, seen and expected; `hint` is the next step. */
export class VmcacheError extends Error {
  override readonly name = 'VmcacheError'
  readonly code: ErrorCode
  readonly hint: string | null
  readonly details: Record<string, unknown>

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint ?? null
    this.details = options.details ?? {}
  }

  get exit(): number {
    return EXIT[ERROR_CODES[this.code]]
  }

  toDocument(): ErrorDocument {
    return { code: this.code, exit: this.exit, message: this.message, hint: this.hint, details: this.details }
  }

  static fromDocument(document: ErrorDocument): VmcacheError {
    return new VmcacheError(document.code in ERROR_CODES ? document.code : 'INTERNAL', document.message, {
      ...(document.hint === null ? {} : { hint: document.hint }),
      details: document.details,
    })
  }
}

/** The text of anything that was thrown, in one line. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, ' ')
}

/** The `code` of a Node.js system error (`ENOENT` ...), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : undefined
}

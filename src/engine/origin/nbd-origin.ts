import { systemClock, type Clock } from '../../base/clock.js'
import { messageOf, systemCode, VmcacheError } from '../../base/errors.js'
import { silentLogger, type Logger } from '../../base/logger.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { AllocationFlag, Command, CommandFlag, TransmissionFlag } from '../../protocol/nbd/constants.js'
import { errorNameOf } from '../../protocol/nbd/error-number.js'
import { hasFlag } from '../../protocol/nbd/export-information.js'
import { NbdRefusedError, type RequestOutcome } from '../nbd/nbd-client.js'
import { createCalls, type Calls } from './calls.js'
import { checkDiskSize } from './disk-size.js'
import { blockLimitsOf, openNbdLink, type NbdLink } from './nbd-link.js'
import { parseNbdUri, type NbdUri } from './nbd-uri.js'
import { OriginError, type AllocationExtent, type Origin, type OriginDescription } from './origin.js'

export interface NbdOriginOptions {
  readonly readOnly: boolean
  /** How long calls wait for a server that is gone, before they fail with EIO. */
  readonly reconnectMilliseconds?: number
  /** For a connect and its handshake. */
  readonly handshakeMilliseconds?: number
  readonly clock?: Clock
  readonly logger?: Logger
}

const DEFAULT_RECONNECT_MILLISECONDS = 25_000
const DEFAULT_HANDSHAKE_MILLISECONDS = 10_000
/** Largest trim, zero or status request: 32 bits hold no more than 4 GiB - 1, and a server should not be held up for long. */
const MAXIMUM_RANGE_BYTES = 1024 * 1024 * 1024

const ERRNOS: ReadonlySet<string> = new Set<OriginError['errno']>([
  'EIO',
  'ENOSPC',
  'EPERM',
  'EINVAL',
  'ENOTSUP',
  'ESHUTDOWN',
])

/**
 * An export of an NBD server as an origin. Requests are pipelined and never wait for one another.
 *
 * A lost connection is made again, at once and then with pauses that grow to 5 s; meanwhile calls wait, up to
 * `reconnectMilliseconds` each, then they fail with EIO. Reads, writes, zeroes and trims that were not answered are sent again:
 * done twice they do the same. (A server that goes on with requests of a connection that is lost can do the older after
 * the newer; servers that finish them first, like vmcache's own, cannot.)
 *
 * `session` rises when a connection is lost, before anything is answered by the next, and when a flush fails. A flush that
 * is in flight at that time rejects with OriginError; one that is called while there is no connection waits for the next,
 * and covers only what that one was sent.
 */
export class NbdOrigin implements Origin {
  readonly description: OriginDescription
  readonly #link: NbdLink
  readonly #calls: Calls
  readonly #maximumBytes: number
  readonly #flags: number

  /** Use {@link openNbdOrigin}. */
  constructor(uri: NbdUri, link: NbdLink, readOnly: boolean) {
    const { agreement } = link
    const { minimum, maximum } = blockLimitsOf(agreement)
    this.#link = link
    this.#calls = createCalls(uri.canonical)
    this.#maximumBytes = maximum
    this.#flags = agreement.information.flags
    this.description = {
      kind: 'nbd',
      uri: uri.canonical,
      sizeBytes: agreement.information.sizeBytes,
      logicalBlockBytes: Math.max(SECTOR_BYTES, minimum),
      readOnly,
      canTrim: this.#offers(TransmissionFlag.sendTrim),
      canZero: this.#offers(TransmissionFlag.sendWriteZeroes),
    }
  }

  get session(): number {
    return this.#link.session
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#transfer('read', Command.read, offset, target)
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    if (this.description.readOnly) return Promise.reject(this.#readOnlyError())
    return this.#transfer('write', Command.write, offset, data)
  }

  async flush(): Promise<void> {
    if (!this.#offers(TransmissionFlag.sendFlush)) return
    await this.#calls.run('flush', async () => {
      const outcome = await this.#link.request(Command.flush, 0, 0, 0, null)
      if (outcome.error !== null) this.#link.endSession()
      this.#check(outcome, 'flush')
    })
  }

  async trim(offset: number, length: number): Promise<void> {
    if (this.description.readOnly) throw this.#readOnlyError()
    if (this.description.canTrim) await this.#overRange('trim', Command.trim, 0, offset, length)
  }

  async zero(offset: number, length: number, { mayTrim, fast }: { mayTrim: boolean; fast: boolean }): Promise<void> {
    if (this.description.readOnly) throw this.#readOnlyError()
    if (fast && !this.#offers(TransmissionFlag.sendFastZero)) {
      throw new OriginError(`origin ${this.description.uri}: has no fast way to write zeroes`, 'ENOTSUP')
    }
    if (!this.description.canZero) return this.#writeZeroes(offset, length)
    const flags = (mayTrim ? 0 : CommandFlag.noHole) | (fast ? CommandFlag.fastZero : 0)
    await this.#overRange('zero', Command.writeZeroes, flags, offset, length)
  }

  /** One run of plain data where the server does not report base:allocation. */
  allocation(offset: number, length: number): Promise<AllocationExtent[]> {
    return this.#calls.run('get the allocation', async () => {
      if (this.#link.agreement.allocationContextId === null) return [{ length, hole: false, zero: false }]
      const extents: AllocationExtent[] = []
      for (let at = offset; at < offset + length;) {
        const wanted = Math.min(offset + length - at, MAXIMUM_RANGE_BYTES)
        const outcome = await this.#link.request(Command.blockStatus, 0, at, wanted, null)
        this.#check(outcome, `get the allocation of ${wanted} bytes at ${at}`)
        const described = appendExtents(extents, outcome, wanted)
        if (described === 0) throw new OriginError(`origin ${this.description.uri}: sent an empty block status`)
        at += described
      }
      return extents
    })
  }

  async close(timeoutMilliseconds: number): Promise<void> {
    await this.#calls.close(timeoutMilliseconds, () => Promise.resolve())
    this.#link.close()
  }

  #offers(flag: number): boolean {
    return hasFlag(this.#flags, flag)
  }

  #readOnlyError(): OriginError {
    return new OriginError(`origin ${this.description.uri}: is read-only`, 'EPERM')
  }

  #check(outcome: RequestOutcome, action: string): void {
    if (outcome.error === null) return
    const name = errorNameOf(outcome.error)
    const said = outcome.message === '' ? name : `${name}, ${outcome.message}`
    const errno = ERRNOS.has(name) ? (name as OriginError['errno']) : 'EIO'
    throw new OriginError(`origin ${this.description.uri}: cannot ${action}: the server says ${said}`, errno)
  }

  /** Reads into or writes from `bytes`, in as many requests as the server's largest block makes it. */
  #transfer(action: string, command: number, offset: number, bytes: Uint8Array): Promise<void> {
    return this.#calls.run(action, async () => {
      const limit = this.#maximumBytes
      if (bytes.length <= limit) return this.#send(action, command, 0, offset, bytes.length, bytes)
      const pieces: Promise<void>[] = []
      for (let at = 0; at < bytes.length; at += limit) {
        const piece = bytes.subarray(at, at + limit)
        pieces.push(this.#send(action, command, 0, offset + at, piece.length, piece))
      }
      await allSettled(pieces)
    })
  }

  #overRange(action: string, command: number, flags: number, offset: number, length: number): Promise<void> {
    return this.#calls.run(action, async () => {
      for (let at = 0; at < length; at += MAXIMUM_RANGE_BYTES) {
        await this.#send(action, command, flags, offset + at, Math.min(MAXIMUM_RANGE_BYTES, length - at), null)
      }
    })
  }

  async #send(
    action: string,
    command: number,
    flags: number,
    offset: number,
    length: number,
    data: Uint8Array | null,
  ): Promise<void> {
    if (length === 0) return
    const outcome = await this.#link.request(command, flags, offset, length, data)
    if (outcome.error !== null) this.#check(outcome, `${action} ${length} bytes at ${offset}`)
  }

  async #writeZeroes(offset: number, length: number): Promise<void> {
    const zeroes = new Uint8Array(Math.min(length, ZEROES_BYTES, this.#maximumBytes))
    for (let at = 0; at < length; at += zeroes.length) {
      await this.write(offset + at, zeroes.subarray(0, Math.min(zeroes.length, length - at)))
    }
  }
}

const ZEROES_BYTES = 1024 * 1024

/** Ends when all have; the caller's buffer belongs to all of them until then. Rejects with the first failure. */
async function allSettled(promises: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(promises)) if (result.status === 'rejected') throw result.reason
}

/** Adds what a reply describes, cut to `wanted` bytes, and returns how many bytes that is. */
function appendExtents(extents: AllocationExtent[], { extents: described }: RequestOutcome, wanted: number): number {
  let total = 0
  for (const { length, flags } of described) {
    const bytes = Math.min(length, wanted - total)
    if (bytes === 0) break
    const extent = {
      length: bytes,
      hole: hasFlag(flags, AllocationFlag.hole),
      zero: hasFlag(flags, AllocationFlag.zero),
    }
    const last = extents.at(-1)
    if (last !== undefined && last.hole === extent.hole && last.zero === extent.zero) {
      extents[extents.length - 1] = { ...extent, length: last.length + bytes }
    } else extents.push(extent)
    total += bytes
  }
  return total
}

/**
 * Connects to the server of an NBD URI, once. Rejects with VmcacheError: BAD_URI; ORIGIN_NOT_FOUND where nobody listens or
 * the export is unknown; DENIED for a read-only export that is to be written, or a socket that may not be used;
 * ORIGIN_SIZE; ORIGIN_FAILED for anything else.
 */
export async function openNbdOrigin(text: string, options: NbdOriginOptions): Promise<NbdOrigin> {
  const uri = parseNbdUri(text)
  const link = await openNbdLink(uri, {
    clock: options.clock ?? systemClock,
    logger: options.logger ?? silentLogger,
    reconnectMilliseconds: options.reconnectMilliseconds ?? DEFAULT_RECONNECT_MILLISECONDS,
    handshakeMilliseconds: options.handshakeMilliseconds ?? DEFAULT_HANDSHAKE_MILLISECONDS,
  }).catch((error: unknown) => {
    throw connectError(uri, error)
  })
  try {
    const { sizeBytes, flags } = link.agreement.information
    checkDiskSize(uri.canonical, sizeBytes)
    if (!options.readOnly && hasFlag(flags, TransmissionFlag.readOnly)) {
      throw new VmcacheError(
        'DENIED',
        `cannot open origin ${uri.canonical}: it is read-only; attach it with --read-only`,
      )
    }
  } catch (error) {
    link.close()
    throw error
  }
  return new NbdOrigin(uri, link, options.readOnly)
}

const UNREACHABLE: ReadonlySet<string> = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK', 'ENOTFOUND', 'EHOSTUNREACH'])

function connectError(uri: NbdUri, cause: unknown): VmcacheError {
  const code = systemCode(cause) ?? ''
  const failure = (kind: 'ORIGIN_NOT_FOUND' | 'DENIED' | 'ORIGIN_FAILED', reason: string): VmcacheError =>
    new VmcacheError(kind, `cannot open origin ${uri.canonical}: ${reason}`, {
      details: { origin: uri.canonical },
      cause,
    })
  if (cause instanceof NbdRefusedError) {
    return failure(cause.unknownExport ? 'ORIGIN_NOT_FOUND' : 'ORIGIN_FAILED', cause.message)
  }
  if (UNREACHABLE.has(code)) return failure('ORIGIN_NOT_FOUND', `no server listens there (${code})`)
  if (code === 'EACCES' || code === 'EPERM') return failure('DENIED', 'permission denied')
  return failure('ORIGIN_FAILED', messageOf(cause))
}

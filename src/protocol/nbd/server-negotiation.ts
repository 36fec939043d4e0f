import { assert } from '../../base/assert.js'
import { messageOf } from '../../base/errors.js'
import { ByteCollector } from './byte-collector.js'
import { ALLOCATION_CONTEXT, GREETING_MAGIC, HandshakeFlag, Info, Option, OptionReply } from './constants.js'
import {
  decodeInfoRequest,
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeExportNameReply,
  encodeNameInfo,
  type ExportInformation,
} from './export-information.js'
import { decodeMetaContextRequest, encodeMetaContext } from './meta-context.js'
import {
  decodeOptionHeader,
  encodeOptionError,
  encodeOptionReply,
  OPTION_HEADER_BYTES,
  type OptionHeader,
} from './option.js'
import { NbdProtocolError } from './protocol-error.js'
import { encodeCountedString, writeMagic } from './wire.js'

/** What a server offers, by name. */
export interface ExportDirectory {
  names(): readonly string[]
  information(name: string): ExportInformation | undefined
}

/** What server and client agreed on. */
export interface Agreement {
  readonly exportName: string
  readonly structuredReplies: boolean
  /** Whether NBD_CMD_BLOCK_STATUS reports base:allocation, under {@link ALLOCATION_CONTEXT_ID}. */
  readonly allocationContext: boolean
}

export const ALLOCATION_CONTEXT_ID = 1

/** Options with more data are refused unread; beyond the second limit the connection is not worth the reading. */
const MAXIMUM_OPTION_BYTES = 64 * 1024
const MAXIMUM_SKIPPED_BYTES = 1024 * 1024

/** No further option is taken up while so much waits to be sent: a name in a short option may make a long answer. */
const MAXIMUM_OUTPUT_BYTES = 64 * 1024

const CLIENT_FLAGS_BYTES = 4

/** States, and what may follow each. */
const TRANSITIONS = {
  'client-flags': ['option-header', 'closed'],
  'option-header': ['option-data', 'skipping', 'agreed', 'closed'],
  'option-data': ['option-header', 'agreed', 'closed'],
  skipping: ['option-header', 'closed'],
  agreed: [],
  closed: [],
} as const satisfies Record<string, readonly string[]>
type State = keyof typeof TRANSITIONS

/**
 * The server's side of the handshake ("Fixed newstyle negotiation") as a state machine without I/O: bytes go in by
 * {@link receive}, bytes to send come out by {@link takeOutput}. It ends *agreed*, with an {@link Agreement}, or
 * *closed*, with a reason; a client that breaks the protocol leads to *closed*, never to an exception.
 */
export class ServerNegotiation {
  #state: State = 'client-flags'
  readonly #collector = new ByteCollector()
  #option: OptionHeader = { type: 0, length: 0 }
  #skip = 0
  #output: Buffer[] = []
  #outputBytes = 0
  #paddedExportName = true
  #structuredReplies = false
  /** The export that base:allocation was selected for. */
  #allocationExport: string | null = null
  #agreement: Agreement | null = null
  #reason = ''

  constructor(private readonly directory: ExportDirectory) {
    this.#collector.expect(CLIENT_FLAGS_BYTES)
    const greeting = Buffer.allocUnsafe(18)
    writeMagic(greeting, GREETING_MAGIC, 0)
    greeting.write('IHAVEOPT', 8, 'latin1')
    greeting.writeUInt16BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 16)
    this.#send(greeting)
  }

  /** Not null once the handshake succeeded; what follows in the stream are requests. */
  get agreement(): Agreement | null {
    return this.#agreement
  }

  /** Not null once the connection is to be closed (after the output has been sent). */
  get closed(): string | null {
    return this.#state === 'closed' ? this.#reason : null
  }

  takeOutput(): Buffer[] {
    const output = this.#output
    this.#output = []
    this.#outputBytes = 0
    return output
  }

  /** Whether output must be taken before anything is received. */
  get full(): boolean {
    return this.#outputBytes >= MAXIMUM_OUTPUT_BYTES
  }

  /** Takes bytes from `bytes[start, end)` until the handshake has ended or it is {@link full}; returns where it stopped. */
  receive(bytes: Buffer, start: number, end: number): number {
    let at = start
    while (at < end && !this.full && this.#state !== 'agreed' && this.#state !== 'closed') {
      if (this.#state === 'skipping') {
        const skipped = Math.min(this.#skip, end - at)
        at += skipped
        this.#skip -= skipped
        if (this.#skip === 0) this.#awaitOption()
        continue
      }
      at = this.#collector.take(bytes, at, end)
      if (!this.#collector.complete) continue
      try {
        this.#handle(this.#collector.bytes)
      } catch (error) {
        if (!(error instanceof NbdProtocolError)) throw error
        this.#close(messageOf(error))
      }
    }
    return at
  }

  #enter(state: State): void {
    const allowed: readonly State[] = TRANSITIONS[this.#state]
    assert(allowed.includes(state), `${this.#state} may lead to ${allowed.join(', ')}, not to ${state}`)
    this.#state = state
  }

  #send(bytes: Buffer): void {
    this.#output.push(bytes)
    this.#outputBytes += bytes.length
  }

  #close(reason: string): void {
    this.#reason = reason
    this.#enter('closed')
  }

  #awaitOption(): void {
    this.#collector.expect(OPTION_HEADER_BYTES)
    this.#enter('option-header')
  }

  #handle(bytes: Buffer): void {
    switch (this.#state) {
      case 'client-flags':
        return this.#handleClientFlags(bytes.readUInt32BE(0))
      case 'option-header':
        return this.#handleOptionHeader(decodeOptionHeader(bytes))
      default:
        return this.#handleOption(bytes)
    }
  }

  #handleClientFlags(flags: number): void {
    const known = HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes
    if ((flags & ~known) !== 0) throw new NbdProtocolError(`client flags 0x${flags.toString(16)} are not known`)
    this.#paddedExportName = (flags & HandshakeFlag.noZeroes) === 0
    this.#awaitOption()
  }

  #handleOptionHeader(header: OptionHeader): void {
    this.#option = header
    const refusal = this.#refusalOf(header)
    if (refusal === null) {
      if (header.length === 0) return this.#handleOption(Buffer.alloc(0))
      this.#collector.expect(header.length)
      return this.#enter('option-data')
    }
    if (header.type === Option.exportName || header.length > MAXIMUM_SKIPPED_BYTES) {
      throw new NbdProtocolError(`option ${header.type} with ${header.length} bytes`)
    }
    this.#send(encodeOptionError(header.type, refusal.type, refusal.message))
    if (header.length === 0) return this.#collector.expect(OPTION_HEADER_BYTES)
    this.#skip = header.length
    this.#enter('skipping')
  }

  /** Why an option is refused before its data is read; null where it is not. */
  #refusalOf({ type, length }: OptionHeader): { type: number; message: string } | null {
    if (!HANDLED_OPTIONS.has(type)) {
      return { type: OptionReply.errorUnsupported, message: `option ${type} is not supported` }
    }
    if (length > MAXIMUM_OPTION_BYTES) {
      return { type: OptionReply.errorTooBig, message: `${length} bytes are more than ${MAXIMUM_OPTION_BYTES}` }
    }
    if (DATALESS_OPTIONS.has(type) && length > 0) {
      return { type: OptionReply.errorInvalid, message: `option ${type} has no data` }
    }
    return null
  }

  /** Acts on an option of which all data is there, then waits for the next unless the handshake has ended. */
  #handleOption(data: Buffer): void {
    const { type } = this.#option
    try {
      this.#answerOption(type, data)
    } catch (error) {
      if (!(error instanceof NbdProtocolError) || type === Option.exportName) throw error
      this.#send(encodeOptionError(type, OptionReply.errorInvalid, messageOf(error)))
    }
    if (this.#state === 'agreed' || this.#state === 'closed') return
    if (this.#state === 'option-data') this.#enter('option-header')
    this.#collector.expect(OPTION_HEADER_BYTES)
  }

  #answerOption(type: number, data: Buffer): void {
    switch (type) {
      case Option.exportName:
        return this.#answerExportName(data.toString('utf8'))
      case Option.abort:
        this.#send(encodeOptionReply(type, OptionReply.ack))
        return this.#close('the client gave up')
      case Option.list:
        for (const name of this.directory.names()) {
          this.#send(encodeOptionReply(type, OptionReply.server, encodeCountedString(name)))
        }
        return this.#acknowledge()
      case Option.structuredReply:
        this.#structuredReplies = true
        return this.#acknowledge()
      case Option.info:
      case Option.go:
        return this.#answerInfo(data)
      default:
        return this.#answerMetaContext(data)
    }
  }

  #acknowledge(): void {
    this.#send(encodeOptionReply(this.#option.type, OptionReply.ack))
  }

  #refuse(type: number, message: string): void {
    this.#send(encodeOptionError(this.#option.type, type, message))
  }

  /** NBD_OPT_EXPORT_NAME has no way to refuse but to close. */
  #answerExportName(name: string): void {
    const information = this.directory.information(name)
    if (information === undefined) throw new NbdProtocolError(`no export is called ${JSON.stringify(name)}`)
    this.#send(encodeExportNameReply(information, this.#paddedExportName))
    this.#agree(name)
  }

  #answerInfo(data: Buffer): void {
    const { type } = this.#option
    const request = decodeInfoRequest(data)
    const information = this.directory.information(request.name)
    if (information === undefined) return this.#refuseUnknown(request.name)
    const replies = [encodeExportInfo(information.sizeBytes, information.flags)]
    if (information.blockSizes !== null) replies.push(encodeBlockSizeInfo(information.blockSizes))
    if (request.types.includes(Info.name)) replies.push(encodeNameInfo(request.name))
    for (const reply of replies) this.#send(encodeOptionReply(type, OptionReply.info, reply))
    this.#acknowledge()
    if (type === Option.go) this.#agree(request.name)
  }

  #refuseUnknown(name: string): void {
    this.#refuse(OptionReply.errorUnknown, `no export is called ${JSON.stringify(name)}`)
  }

  /** "Metadata querying": a list query `base:` stands for every context of that namespace, and so does no query. */
  #answerMetaContext(data: Buffer): void {
    const { type } = this.#option
    const { exportName, queries } = decodeMetaContextRequest(data)
    const selecting = type === Option.setMetaContext
    if (selecting) this.#allocationExport = null
    if (!this.#structuredReplies) {
      return this.#refuse(OptionReply.errorInvalid, 'contexts need structured replies to be agreed on first')
    }
    if (this.directory.information(exportName) === undefined) return this.#refuseUnknown(exportName)
    const named = queries.includes(ALLOCATION_CONTEXT)
    if (named || (!selecting && (queries.length === 0 || queries.includes('base:')))) {
      const id = selecting ? ALLOCATION_CONTEXT_ID : 0
      const context = encodeMetaContext({ id, name: ALLOCATION_CONTEXT })
      this.#send(encodeOptionReply(type, OptionReply.metaContext, context))
      if (selecting) this.#allocationExport = exportName
    }
    this.#acknowledge()
  }

  #agree(exportName: string): void {
    this.#agreement = {
      exportName,
      structuredReplies: this.#structuredReplies,
      allocationContext: this.#allocationExport === exportName,
    }
    this.#enter('agreed')
  }
}

const HANDLED_OPTIONS: ReadonlySet<number> = new Set([
  Option.exportName,
  Option.abort,
  Option.list,
  Option.info,
  Option.go,
  Option.structuredReply,
  Option.listMetaContext,
  Option.setMetaContext,
])

/** Options that must come without data. (NBD_OPT_ABORT should, too; whoever gives up is let go in any case.) */
const DATALESS_OPTIONS: ReadonlySet<number> = new Set([Option.list, Option.structuredReply])

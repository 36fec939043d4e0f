import { assert } from '../../base/assert.js'
import { messageOf } from '../../base/errors.js'
import { ByteCollector } from './byte-collector.js'
import {
  ALLOCATION_CONTEXT,
  GREETING_MAGIC,
  HandshakeFlag,
  Info,
  isErrorReply,
  Option,
  OPTION_MAGIC,
  OptionReply,
} from './constants.js'
import {
  decodeExportNameReply,
  decodeInfoReply,
  encodeInfoRequest,
  EXPORT_NAME_PADDING_BYTES,
  EXPORT_NAME_REPLY_BYTES,
  type BlockSizes,
  type ExportInformation,
} from './export-information.js'
import { decodeMetaContext, encodeMetaContextRequest } from './meta-context.js'
import { decodeOptionReplyHeader, encodeOption, OPTION_REPLY_HEADER_BYTES, type OptionReplyHeader } from './option.js'
import { NbdProtocolError } from './protocol-error.js'
import { hasMagic } from './wire.js'

/** What the client may do once the handshake has succeeded. */
export interface ClientAgreement {
  readonly information: ExportInformation
  readonly structuredReplies: boolean
  /** The id of base:allocation; null where the server does not offer it. */
  readonly allocationContextId: number | null
}

/** Why the handshake failed: the server knows no such export, or anything else. */
export interface Refusal {
  readonly unknownExport: boolean
  readonly reason: string
}

/** No option that this client sends has longer answers. */
const MAXIMUM_REPLY_BYTES = 64 * 1024
const GREETING_BYTES = 18

/** States, and what may follow each. Each of the middle ones waits for the answers to one option. */
const TRANSITIONS = {
  greeting: ['structured-reply', 'refused'],
  'structured-reply': ['set-meta-context', 'go', 'refused'],
  'set-meta-context': ['go', 'refused'],
  go: ['export-name', 'agreed', 'refused'],
  'export-name': ['agreed', 'refused'],
  agreed: [],
  refused: [],
} as const satisfies Record<string, readonly string[]>
type State = keyof typeof TRANSITIONS

/**
 * The client's side of the handshake as a state machine without I/O: bytes go in by {@link receive}, bytes to send come
 * out by {@link takeOutput}. It asks for structured replies, for base:allocation where it gets them, then for the
 * export: by NBD_OPT_GO, or by NBD_OPT_EXPORT_NAME where the server knows no better. It ends with an
 * {@link agreement} or a {@link refusal}.
 */
export class ClientNegotiation {
  #state: State = 'greeting'
  readonly #collector = new ByteCollector()
  #reply: OptionReplyHeader | null = null
  #output: Buffer[] = []
  #paddedExportName = true
  #structuredReplies = false
  #allocationContextId: number | null = null
  #size: { sizeBytes: number; flags: number } | null = null
  #blockSizes: BlockSizes | null = null
  #agreement: ClientAgreement | null = null
  #refusal: Refusal | null = null

  constructor(private readonly exportName: string) {
    this.#collector.expect(GREETING_BYTES)
  }

  get agreement(): ClientAgreement | null {
    return this.#agreement
  }

  get refusal(): Refusal | null {
    return this.#refusal
  }

  takeOutput(): Buffer[] {
    const output = this.#output
    this.#output = []
    return output
  }

  /** Takes bytes from `bytes[start, end)` until the handshake has ended, and returns where it stopped. */
  receive(bytes: Buffer, start: number, end: number): number {
    let at = start
    while (at < end && this.#agreement === null && this.#refusal === null) {
      at = this.#collector.take(bytes, at, end)
      if (!this.#collector.complete) continue
      try {
        this.#handle(this.#collector.bytes)
      } catch (error) {
        if (!(error instanceof NbdProtocolError)) throw error
        this.#refuse(messageOf(error))
      }
    }
    return at
  }

  #enter(state: State): void {
    const allowed: readonly State[] = TRANSITIONS[this.#state]
    assert(allowed.includes(state), `${this.#state} may lead to ${allowed.join(', ')}, not to ${state}`)
    this.#state = state
  }

  #refuse(reason: string, unknownExport = false): void {
    this.#refusal = { reason, unknownExport }
    this.#enter('refused')
  }

  #handle(bytes: Buffer): void {
    if (this.#state === 'greeting') return this.#handleGreeting(bytes)
    if (this.#state === 'export-name') return this.#agree(decodeExportNameReply(bytes))
    if (this.#reply === null) return this.#handleReplyHeader(decodeOptionReplyHeader(bytes))
    const reply = this.#reply
    this.#reply = null
    this.#handleReply(reply, bytes)
  }

  #handleGreeting(bytes: Buffer): void {
    if (!hasMagic(bytes, 0, GREETING_MAGIC)) throw new NbdProtocolError('no NBD server answers there')
    if (!hasMagic(bytes, 8, OPTION_MAGIC)) throw new NbdProtocolError('the server speaks only the oldstyle handshake')
    const flags = bytes.readUInt16BE(16)
    if ((flags & HandshakeFlag.fixedNewstyle) === 0) {
      throw new NbdProtocolError('the server does not speak the fixed newstyle handshake')
    }
    const clientFlags = flags & (HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes)
    this.#paddedExportName = (flags & HandshakeFlag.noZeroes) === 0
    const answer = Buffer.alloc(4)
    answer.writeUInt32BE(clientFlags, 0)
    this.#output.push(answer)
    this.#ask('structured-reply', Option.structuredReply)
  }

  #ask(state: State, option: number, data?: Buffer): void {
    this.#output.push(encodeOption(option, data))
    this.#enter(state)
    this.#collector.expect(OPTION_REPLY_HEADER_BYTES)
  }

  #askMetaContext(): void {
    const request = { exportName: this.exportName, queries: [ALLOCATION_CONTEXT] }
    this.#ask('set-meta-context', Option.setMetaContext, encodeMetaContextRequest(request))
  }

  #askGo(): void {
    this.#ask('go', Option.go, encodeInfoRequest({ name: this.exportName, types: [Info.blockSize] }))
  }

  #handleReplyHeader(header: OptionReplyHeader): void {
    if (header.length > MAXIMUM_REPLY_BYTES) {
      throw new NbdProtocolError(`the server answers option ${header.option} with ${header.length} bytes`)
    }
    if (header.option !== OPTION_OF_STATE[this.#state]) {
      throw new NbdProtocolError(`the server answers option ${header.option}, which was not asked`)
    }
    if (header.length === 0) return this.#handleReply(header, Buffer.alloc(0))
    this.#reply = header
    this.#collector.expect(header.length)
  }

  /** One answer to the option in question; acknowledgements and errors are the last one. */
  #handleReply({ type }: OptionReplyHeader, data: Buffer): void {
    this.#collector.expect(OPTION_REPLY_HEADER_BYTES)
    if (isErrorReply(type)) return this.#handleErrorReply(type, data.toString('utf8'))
    switch (this.#state) {
      case 'structured-reply':
        if (type !== OptionReply.ack) throw unexpected(type)
        this.#structuredReplies = true
        return this.#askMetaContext()
      case 'set-meta-context': {
        if (type === OptionReply.ack) return this.#askGo()
        if (type !== OptionReply.metaContext) throw unexpected(type)
        const context = decodeMetaContext(data)
        if (context.name === ALLOCATION_CONTEXT) this.#allocationContextId = context.id
        return
      }
      default: {
        if (type === OptionReply.ack) {
          if (this.#size === null) throw new NbdProtocolError('the server did not tell the size of the export')
          return this.#agree({ ...this.#size, blockSizes: this.#blockSizes })
        }
        if (type !== OptionReply.info) throw unexpected(type)
        const info = decodeInfoReply(data)
        if (info.type === 'export') this.#size = { sizeBytes: info.sizeBytes, flags: info.flags }
        if (info.type === 'block-size') this.#blockSizes = info.sizes
      }
    }
  }

  /** Everything but the export itself can be done without. */
  #handleErrorReply(type: number, message: string): void {
    const detail = message === '' ? '' : `: ${message}`
    if (type === OptionReply.errorTlsRequired) return this.#refuse(`the server insists on TLS${detail}`)
    if (this.#state === 'structured-reply') return this.#askGo()
    if (this.#state === 'set-meta-context') return this.#askGo()
    if (type === OptionReply.errorUnknown) return this.#refuse(`the server has no such export${detail}`, true)
    if (type !== OptionReply.errorUnsupported) {
      return this.#refuse(`the server refuses the export (error ${type - 0x8000_0000})${detail}`)
    }
    this.#ask('export-name', Option.exportName, Buffer.from(this.exportName, 'utf8'))
    this.#collector.expect(EXPORT_NAME_REPLY_BYTES + (this.#paddedExportName ? EXPORT_NAME_PADDING_BYTES : 0))
  }

  #agree(information: ExportInformation): void {
    this.#agreement = {
      information,
      structuredReplies: this.#structuredReplies,
      allocationContextId: this.#allocationContextId,
    }
    this.#enter('agreed')
  }
}

const OPTION_OF_STATE: Partial<Record<State, number>> = {
  'structured-reply': Option.structuredReply,
  'set-meta-context': Option.setMetaContext,
  go: Option.go,
}

function unexpected(type: number): NbdProtocolError {
  return new NbdProtocolError(`the server sent an option reply of type ${type}, which does not belong there`)
}

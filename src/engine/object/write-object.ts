import { assert } from '../../base/assert.js'
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import {
  MAXIMUM_ATTRIBUTE_BYTES,
  OBJECT_BLOCK_BYTES,
  encodeObjectHeader,
  type ObjectSeal,
} from '../../format/object-header.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import type { Chunk } from '../log/chunk-source.js'
import { eachBlock } from './block-checksums.js'
import { commitChunks } from './commit-chunks.js'
import { eachHeader } from './each-header.js'
import { PIECE_BYTES, pieceAt, type Piece } from './pieces.js'
import {
  chunksFor,
  dataBytesOf,
  paddedBytes,
  payloadBytesOf,
  storedObject,
  type StoredObject,
} from './stored-object.js'

/** Pieces under way to the devices, and the one that is being filled. */
const BUFFERS = 5

export interface ObjectTarget {
  readonly cacheId: string
  readonly chunkBytes: number
  /** The next chunk; rejects where there is none. */
  take(): Promise<Chunk>
  /** The device of a chunk for large writes, and for reading what really is on it: past the page cache, where that is possible. */
  medium(chunk: Chunk): Promise<Device>
}

export interface ObjectIdentity {
  readonly id: string
  readonly createdAt: number
  readonly attributes: Buffer
}

/** A chunk that is being filled. */
interface OpenChunk {
  readonly chunk: Chunk
  readonly checksums: Uint32Array
}

/**
 * Writes one object as its stream comes in. The headers of its chunks are not written before its end: until then they are free to whoever opens
 * the cache. Whoever gives up gives back what was {@link taken}, or frees what was {@link written}.
 */
export class ObjectWriter {
  readonly #chunks: Promise<OpenChunk>[] = []
  readonly #taken: OpenChunk[] = []
  readonly #buffers = Array.from({ length: BUFFERS }, () => alignedBuffer(PIECE_BYTES))
  readonly #free: Buffer[]
  readonly #underWay = new Set<Promise<void>>()
  #buffer: Buffer
  /** Payload before the buffer that is being filled, and what of that is filled. */
  #position = 0
  #filled = 0
  #failure: Error | undefined
  #written: StoredObject | undefined
  /** Called when there is room again, after {@link advance} returned false, and when a write failed. */
  onChange: () => void = () => undefined

  constructor(
    readonly target: ObjectTarget,
    readonly identity: ObjectIdentity,
  ) {
    assert(identity.attributes.length <= MAXIMUM_ATTRIBUTE_BYTES, 'attributes fit into the first chunk')
    this.#free = [...this.#buffers]
    this.#buffer = this.#free.pop()!
    const padded = paddedBytes(identity.attributes.length)
    this.#buffer.fill(0, 0, padded)
    this.#buffer.set(identity.attributes)
    this.#filled = padded
  }

  /** Chunks that were taken. */
  get taken(): readonly Chunk[] {
    return this.#taken.map(({ chunk }) => chunk)
  }

  /** The object as its headers may say it on the devices; undefined before the first of them was written. */
  get written(): StoredObject | undefined {
    return this.#written
  }

  /** What made a write fail first; undefined where nothing did. */
  get failure(): Error | undefined {
    return this.#failure
  }

  get streamBytes(): number {
    return this.#position + this.#filled - paddedBytes(this.identity.attributes.length)
  }

  /** Where the next bytes of the stream are to be put: one at least. */
  get space(): Buffer {
    return this.#buffer.subarray(this.#filled, this.#piece.length)
  }

  get #piece(): Piece {
    return pieceAt(this.#position, Infinity, this.target.chunkBytes)!
  }

  /** `count` bytes were put into {@link space}. Returns false where the caller should wait for {@link onChange} before it puts more there. */
  advance(count: number): boolean {
    this.#filled += count
    if (this.#filled === this.#piece.length) this.#send()
    return this.#free.length > 0
  }

  /** Whether more may be put into {@link space}. */
  get hasRoom(): boolean {
    return this.#free.length > 0
  }

  /** Sends what is filled on its way and takes up another buffer. */
  #send(): void {
    const piece = { ...this.#piece, length: this.#filled }
    const buffer = this.#buffer
    const written = this.#write(piece, buffer.subarray(0, piece.length)).then(
      () => {
        this.#underWay.delete(written)
        this.#free.push(buffer)
        this.onChange()
      },
      (error: unknown) => {
        this.#underWay.delete(written)
        this.#failure ??= error as Error
        this.onChange()
      },
    )
    this.#underWay.add(written)
    this.#position += piece.length
    this.#filled = 0
    // A buffer that failed never returns: whoever fills the last one waits, and hears of the failure.
    this.#buffer = this.#free.pop()!
  }

  async #write({ number, offset }: Piece, bytes: Buffer): Promise<void> {
    const { chunk, checksums } = await this.#chunk(number)
    eachBlock(bytes, offset, (block, checksum) => (checksums[block] = checksum))
    await (await this.target.medium(chunk)).write(chunk.offset + offset, bytes)
  }

  /** The chunk with that number, which is taken when it is needed first: one after the other. */
  #chunk(number: number): Promise<OpenChunk> {
    const before = this.#chunks.at(-1)
    return (this.#chunks[number] ??= (before ?? Promise.resolve()).then(async () => {
      const chunk = await this.target.take()
      const blocks = Math.ceil(dataBytesOf(this.target.chunkBytes) / OBJECT_BLOCK_BYTES)
      const open = { chunk, checksums: new Uint32Array(blocks) }
      this.#taken.push(open)
      return open
    }))
  }

  /**
   * The stream has ended: puts all of it on stable storage, with headers that do not seal it yet. `vm` and `name` say whose it is.
   */
  async finish({ vm, name }: Pick<ObjectSeal, 'vm' | 'name'>): Promise<StoredObject> {
    const { id, createdAt, attributes } = this.identity
    const { streamBytes } = this
    if (this.#filled > 0) {
      const padded = paddedBytes(this.#filled)
      this.#buffer.fill(0, this.#filled, padded)
      this.#filled = padded
      this.#send()
    }
    await this.#chunk(0)
    await this.settled()
    if (this.#failure !== undefined) throw this.#failure
    const chunkCount = chunksFor(attributes.length, streamBytes, this.target.chunkBytes)
    assert(this.#taken.length === chunkCount, 'the chunks of an object are those that its payload needs')
    const seal: ObjectSeal = { chunkCount, attributeBytes: attributes.length, streamBytes, vm, name }
    const { cacheId } = this.target
    const headers = this.#taken.map(({ chunk }, number) => {
      return { flags: 0, cacheId, generation: ++chunk.generation, objectId: id, number, createdAt, seal }
    })
    const chunks = this.#taken.map(({ chunk }, index) => ({ chunk, header: headers[index]! }))
    this.#written = storedObject(id, chunks)
    await eachHeader(this.#taken, async ({ chunk, checksums }, block, index) => {
      encodeObjectHeader(block, 0, headers[index]!, checksums)
      await chunk.device.write(chunk.offset, block)
    })
    const payload = payloadBytesOf(seal)
    const dataBytes = dataBytesOf(this.target.chunkBytes)
    await commitChunks(
      this.#taken.map(({ chunk }) => chunk),
      (index) => CHUNK_HEADER_BYTES + Math.min(dataBytes, payload - index * dataBytes),
    )
    return this.#written
  }

  /** Ends when nothing is under way to a device any more. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }

  /** Gives its memory back; nothing may be under way. */
  release(): void {
    for (const buffer of this.#buffers) releaseAligned(buffer)
  }
}

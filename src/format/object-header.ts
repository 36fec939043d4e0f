import { SECTOR_BYTES } from '../model/geometry.js'
import { CHUNK_HEADER_BYTES, CHUNK_KIND } from './chunk-header.js'
import { Structure, type Values } from './structure.js'
import { FORMAT_VERSION } from './superblock.js'

/**
 * A chunk of an object begins with a header of {@link CHUNK_HEADER_BYTES} like that of any other chunk, and data fills the rest of it. The
 * first sector says which chunk of which object it is, and whether the object is sealed: a device writes a sector whole, so an object is
 * sealed, or deleted, at once. The rest says what the whole object is, in each of its chunks, and has a checksum for each block of this one.
 */
export const OBJECT_FLAG = {
  /** All of the object is on stable storage. Where one chunk says so it holds for all. */
  sealed: 1,
  /** The object is being deleted, whatever other chunks say; this is the last one to be freed. */
  deleted: 2,
} as const

/** Unit of checksums. */
export const OBJECT_BLOCK_BYTES = 64 * 1024
/** What the data of an object is padded to, at its end and behind its attributes. */
export const OBJECT_ALIGNMENT_BYTES = 4096
/** Chunks of an object that is a file, one behind the other. */
export const CHECKPOINT_FILE_CHUNK_BYTES = 16 * 1024 * 1024
export const MAXIMUM_ATTRIBUTE_BYTES = 64 * 1024
export const MAXIMUM_VM_NAME_BYTES = 256
/** Those of the largest chunk. */
const MAXIMUM_BLOCKS = 512
const CHECKSUM_BYTES = 4

/** Where the object's own fields begin: before them it is a chunk header like others. */
const head = new Structure('object chunk header', 'vmCH', SECTOR_BYTES, {
  version: 'u16',
  kind: 'u8',
  padding: 'reserved:3',
  flags: 'u16',
  cacheId: 'id',
  generation: 'u64',
  objectId: 'id',
  /** Number of this chunk in its object, from 0. */
  number: 'u64',
  createdAt: 'u64',
  reserved: `reserved:${SECTOR_BYTES - 8 - 8 - 16 * 2 - 8 * 3}`,
})

const seal = new Structure('object seal', 'vmCO', CHUNK_HEADER_BYTES - SECTOR_BYTES, {
  /** The same as before it. */
  generation: 'u64',
  chunkCount: 'u32',
  attributeBytes: 'u32',
  streamBytes: 'u64',
  vm: 'id',
  name: `text:${MAXIMUM_VM_NAME_BYTES}`,
  blocks: `reserved:${MAXIMUM_BLOCKS * CHECKSUM_BYTES}`,
  reserved: `reserved:${CHUNK_HEADER_BYTES - SECTOR_BYTES - 8 - 8 * 2 - 4 * 2 - 16 - MAXIMUM_VM_NAME_BYTES - MAXIMUM_BLOCKS * CHECKSUM_BYTES}`,
})

const blocksOffset = SECTOR_BYTES + seal.layout.fields.find(({ name }) => name === 'blocks')!.offset

type ValuesOf<S> = S extends Structure<infer F> ? Values<F> : never

/** What the whole object is; the same in each of its chunks. */
export type ObjectSeal = Readonly<Omit<ValuesOf<typeof seal>, 'generation'>>

export interface ObjectHeader extends Readonly<Omit<ValuesOf<typeof head>, 'version' | 'kind'>> {
  /** Undefined where the sectors that hold it are not whole. */
  readonly seal: ObjectSeal | undefined
}

export const objectHeaderLayout = head.layout
/** Offsets from the second sector on. */
export const objectSealLayout = seal.layout

/** @param checksums of the blocks of the chunk */
export function encodeObjectHeader(
  target: Buffer,
  at: number,
  header: ObjectHeader & { readonly seal: ObjectSeal },
  checksums: Uint32Array,
): void {
  head.encode(target, at, { ...header, kind: CHUNK_KIND.object, version: FORMAT_VERSION })
  seal.encode(target, at + SECTOR_BYTES, { ...header.seal, generation: header.generation })
  checksums.forEach((checksum, block) => target.writeUInt32LE(checksum, at + blocksOffset + block * CHECKSUM_BYTES))
  seal.reseal(target, at + SECTOR_BYTES)
}

/** Writes other flags into a header; nothing but its first sector changes. */
export function changeObjectFlags(target: Buffer, at: number, header: ObjectHeader, flags: number): void {
  head.encode(target, at, { ...header, flags, kind: CHUNK_KIND.object, version: FORMAT_VERSION })
}

/** The header of an object's chunk, or undefined where the bytes are none that this version reads. */
export function decodeObjectHeader(source: Buffer, at: number): ObjectHeader | undefined {
  const fixed = head.read(source, at)
  if (fixed === undefined || fixed.version > FORMAT_VERSION || fixed.kind !== CHUNK_KIND.object) return undefined
  const { version: _, kind: __, ...rest } = fixed
  const found = seal.read(source, at + SECTOR_BYTES)
  if (found?.generation !== fixed.generation) return { ...rest, seal: undefined }
  const { generation: ___, ...sealed } = found
  return { ...rest, seal: sealed }
}

/** The checksum of a block, of a header that has its seal. */
export function objectBlockChecksum(source: Buffer, at: number, block: number): number {
  return source.readUInt32LE(at + blocksOffset + block * CHECKSUM_BYTES)
}

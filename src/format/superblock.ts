import { MAXIMUM_BLOCK_PAGES, MAXIMUM_CHUNK_BYTES, MINIMUM_CHUNK_BYTES, PAGE_BYTES } from '../model/geometry.js'
import { Structure, type Values } from './structure.js'

/** Newest format that this software writes and the newest that it reads. */
export const FORMAT_VERSION = 1

/** The superblock has two copies, written in turn; the one with the higher `writeCount` that verifies counts. */
export const SUPERBLOCK_BYTES = 4096
export const SUPERBLOCK_OFFSETS = [0, 64 * 1024] as const
/** Chunks begin here on every device. */
export const FIRST_CHUNK_OFFSET = 1024 * 1024
export const MAXIMUM_DEVICES = 64
export const MAXIMUM_CACHE_NAME_BYTES = 128

const DEVICE_ENTRY_BYTES = 24
const DEVICES_BYTES = MAXIMUM_DEVICES * DEVICE_ENTRY_BYTES

const structure = new Structure('superblock', 'vmSB', SUPERBLOCK_BYTES, {
  version: 'u16',
  deviceIndex: 'u16',
  deviceCount: 'u16',
  flags: 'u16',
  signature: 'text:16',
  cacheId: 'id',
  deviceId: 'id',
  hostId: 'id',
  writeCount: 'u64',
  openCount: 'u64',
  createdAt: 'u64',
  firstChunkOffset: 'u64',
  chunkBytes: 'u32',
  chunkCount: 'u32',
  logicalBlockBytes: 'u32',
  blockBytes: 'u32',
  cacheName: `text:${MAXIMUM_CACHE_NAME_BYTES}`,
  devices: `reserved:${DEVICES_BYTES}`,
  reserved: `reserved:${SUPERBLOCK_BYTES - 8 - 8 - 16 * 4 - 8 * 4 - 4 * 4 - MAXIMUM_CACHE_NAME_BYTES - DEVICES_BYTES}`,
})

const devicesOffset = structure.layout.fields.find((field) => field.name === 'devices')!.offset

export interface SuperblockDevice {
  readonly id: string
  readonly chunkCount: number
}

/**
 * What a device says of itself. `openCount` rises, on stable storage, each time the cache is opened, before anything else is
 * written, and each time its devices change; chunk generations are built from it, so that none is ever used twice. `devices` lists all
 * devices of the cache; where superblocks differ the one with the highest `openCount` is right.
 */
export type Superblock = Omit<Values<typeof structure extends Structure<infer F> ? F : never>, 'signature'> & {
  devices: readonly SuperblockDevice[]
}

export const superblockLayout = structure.layout

/** A block of {@link SUPERBLOCK_BYTES} bytes. */
export function encodeSuperblock(superblock: Superblock): Buffer {
  const block = Buffer.alloc(SUPERBLOCK_BYTES)
  structure.encode(block, 0, { ...superblock, signature: 'vmcache device' })
  superblock.devices.forEach((device, index) => {
    const at = devicesOffset + index * DEVICE_ENTRY_BYTES
    block.write(device.id, at, 16, 'hex')
    block.writeUInt32LE(device.chunkCount, at + 16)
  })
  structure.reseal(block, 0)
  return block
}

export type SuperblockReading =
  | { readonly kind: 'superblock'; readonly superblock: Superblock }
  /** A newer vmcache wrote it. */
  | { readonly kind: 'newer'; readonly version: number }
  /** It has the magic number, but does not verify. */
  | { readonly kind: 'corrupt' }
  | { readonly kind: 'foreign' }

/** Reads one copy. */
export function decodeSuperblock(block: Buffer): SuperblockReading {
  if (!structure.hasMagic(block, 0)) return { kind: 'foreign' }
  if (!structure.verify(block, 0)) return { kind: 'corrupt' }
  const values = structure.decode(block, 0)
  if (values === undefined) return { kind: 'corrupt' }
  if (values.version > FORMAT_VERSION) return { kind: 'newer', version: values.version }
  if (values.deviceCount < 1 || values.deviceCount > MAXIMUM_DEVICES || values.deviceIndex >= values.deviceCount) {
    return { kind: 'corrupt' }
  }
  const { signature: _, ...rest } = values
  const devices = Array.from({ length: values.deviceCount }, (__, index) => {
    const at = devicesOffset + index * DEVICE_ENTRY_BYTES
    return { id: block.toString('hex', at, at + 16), chunkCount: block.readUInt32LE(at + 16) }
  })
  const superblock = { ...rest, devices }
  return isPlausible(superblock) ? { kind: 'superblock', superblock } : { kind: 'corrupt' }
}

/** Whether a superblock agrees with itself and with the bounds of the format, so that its readers need not ask. */
function isPlausible({ deviceIndex, deviceId, devices, ...superblock }: Superblock): boolean {
  const { chunkBytes, chunkCount, firstChunkOffset, logicalBlockBytes, blockBytes } = superblock
  const isPowerOfTwo = (chunkBytes & (chunkBytes - 1)) === 0
  return (
    devices[deviceIndex]?.id === deviceId &&
    devices[deviceIndex].chunkCount === chunkCount &&
    isPowerOfTwo &&
    chunkBytes >= MINIMUM_CHUNK_BYTES &&
    chunkBytes <= MAXIMUM_CHUNK_BYTES &&
    firstChunkOffset === FIRST_CHUNK_OFFSET &&
    (logicalBlockBytes === 512 || logicalBlockBytes === 4096) &&
    blockBytes >= PAGE_BYTES &&
    blockBytes <= MAXIMUM_BLOCK_PAGES * PAGE_BYTES &&
    blockBytes % PAGE_BYTES === 0
  )
}

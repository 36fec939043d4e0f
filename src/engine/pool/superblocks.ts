/**
 * engine/pool/: the devices of a cache and its chunks, as the main thread sees them: who opens a cache reads superblocks and chunk headers here,
 * and hands free chunks to the I/O threads.
 */
import { VmcacheError } from '../../base/errors.js'
import {
  FORMAT_VERSION,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSETS,
  decodeSuperblock,
  encodeSuperblock,
  type Superblock,
} from '../../format/superblock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'

export function newerFormat(path: string, version: number): VmcacheError {
  return new VmcacheError(
    'DEVICE_FOREIGN',
    `device ${path} has format ${version}, which a newer vmcache wrote; this one reads up to ${FORMAT_VERSION}`,
    { hint: 'upgrade vmcache on this host', details: { path, version } },
  )
}

/** The newest good superblock of a device; undefined where it holds no vmcache device. CORRUPT where it holds the ruins of one. */
export async function readSuperblock(device: Device): Promise<Superblock | undefined> {
  let newest: Superblock | undefined
  let corrupt = false
  for (const offset of SUPERBLOCK_OFFSETS) {
    if (offset + SUPERBLOCK_BYTES > device.sizeBytes) continue
    const block = alignedBuffer(SUPERBLOCK_BYTES)
    try {
      await device.read(offset, block, 0, SUPERBLOCK_BYTES)
      const reading = decodeSuperblock(block)
      if (reading.kind === 'newer') throw newerFormat(device.path, reading.version)
      if (reading.kind === 'corrupt') corrupt = true
      if (
        reading.kind === 'superblock' &&
        (newest === undefined || reading.superblock.writeCount > newest.writeCount)
      ) {
        newest = reading.superblock
      }
    } finally {
      releaseAligned(block)
    }
  }
  if (newest === undefined && corrupt) {
    throw new VmcacheError(
      'CORRUPT',
      `device ${device.path} was a vmcache device: neither copy of its superblock verifies`,
      {
        hint: `vmcache cache check ${device.path}`,
        details: { path: device.path },
      },
    )
  }
  return newest
}

/** Writes the next copy of a superblock, on stable storage: the copies take turns, so one is always whole. */
export async function writeSuperblock(device: Device, superblock: Superblock): Promise<Superblock> {
  const next = { ...superblock, writeCount: superblock.writeCount + 1 }
  const offset = SUPERBLOCK_OFFSETS[next.writeCount % SUPERBLOCK_OFFSETS.length]!
  await writeStable(device, offset, encodeSuperblock(next))
  return next
}

/** Overwrites both copies with zeroes. */
export async function eraseSuperblocks(device: Device): Promise<void> {
  for (const offset of SUPERBLOCK_OFFSETS) await writeStable(device, offset, Buffer.alloc(SUPERBLOCK_BYTES))
}

async function writeStable(device: Device, offset: number, block: Buffer): Promise<void> {
  await device.write(offset, block)
  await device.commit([{ offset, length: block.length }])
}

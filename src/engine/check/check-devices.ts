import { VmcacheError } from '../../base/errors.js'
import {
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSETS,
  decodeSuperblock,
  type Superblock,
  type SuperblockReading,
} from '../../format/superblock.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { chunkOffset } from '../pool/pool.js'
import { membershipOf } from '../pool/members.js'
import { newerFormat, writeSuperblock } from '../pool/superblocks.js'
import type { Findings } from './findings.js'

export interface CheckableDevice {
  readonly device: Device
  readonly superblock: Superblock
}

/**
 * Reads both copies of each superblock; returns the devices that the cache has (pool/members.ts). DEVICE_FOREIGN where a device is none of vmcache's, of a newer one, or of another cache than the
 * first; CORRUPT where no copy is whole or the device is cut.
 */
export async function checkDevices(devices: readonly Device[], findings: Findings): Promise<CheckableDevice[]> {
  const checked: CheckableDevice[] = []
  for (const device of devices) checked.push({ device, superblock: await checkSuperblocks(device, findings) })
  const first = checked[0]!
  for (const { device, superblock } of checked) {
    if (superblock.cacheId === first.superblock.cacheId) continue
    throw new VmcacheError(
      'DEVICE_FOREIGN',
      `device ${device.path} belongs to cache ${superblock.cacheName}, not to ${first.superblock.cacheName} like ${first.device.path}`,
      { hint: 'check one cache at a time', details: { path: device.path } },
    )
  }
  const { members, missing } = membershipOf(checked)
  for (const { id, chunkCount } of missing) {
    await findings.add({
      device: members[0]!.device.path,
      chunk: null,
      kind: 'device-missing',
      seen: `${members.length} devices are named`,
      expected: `also device ${id}, which has ${chunkCount} chunks of the cache`,
      effect: 'loses clean pages',
    })
  }
  return [...members]
}

async function checkSuperblocks(device: Device, findings: Findings): Promise<Superblock> {
  const readings: SuperblockReading[] = []
  for (const offset of SUPERBLOCK_OFFSETS) readings.push(await readCopy(device, offset))
  for (const reading of readings) if (reading.kind === 'newer') throw newerFormat(device.path, reading.version)
  const newest = readings
    .flatMap((reading) => (reading.kind === 'superblock' ? [reading.superblock] : []))
    .sort((a, b) => b.writeCount - a.writeCount)[0]
  if (newest === undefined) {
    if (readings.every(({ kind }) => kind === 'foreign')) {
      throw new VmcacheError('DEVICE_FOREIGN', `device ${device.path} holds no vmcache superblock`, {
        hint: 'name the devices that the cache was created with',
        details: { path: device.path },
      })
    }
    throw new VmcacheError(
      'CORRUPT',
      `device ${device.path} was a vmcache device: neither copy of its superblock is whole`,
      { hint: 'its cache holds copies only: create it anew with --force', details: { path: device.path } },
    )
  }
  if (device.sizeBytes < chunkOffset(newest, newest.chunkCount)) {
    throw new VmcacheError(
      'CORRUPT',
      `device ${device.path} has ${device.sizeBytes} bytes, its superblock says ${newest.chunkCount} chunks of ${newest.chunkBytes}`,
      { hint: 'give the device its size back', details: { path: device.path, sizeBytes: device.sizeBytes } },
    )
  }
  // The other copy is where the next one goes. It is empty until the second write.
  const other = readings[(newest.writeCount + 1) % SUPERBLOCK_OFFSETS.length]!
  const isWhole = other.kind === 'superblock' && other.superblock.deviceId === newest.deviceId
  if (isWhole || (other.kind === 'foreign' && newest.writeCount === 1)) return newest
  let current = newest
  await findings.add(
    {
      device: device.path,
      chunk: null,
      kind: 'superblock',
      seen: 'one copy of the superblock is not whole',
      expected: 'two whole copies',
      effect: 'harmless',
    },
    async () => (current = await writeSuperblock(device, newest)),
  )
  return current
}

async function readCopy(device: Device, offset: number): Promise<SuperblockReading> {
  if (offset + SUPERBLOCK_BYTES > device.sizeBytes) return { kind: 'foreign' }
  const block = alignedBuffer(SUPERBLOCK_BYTES)
  try {
    await device.read(offset, block, 0, SUPERBLOCK_BYTES)
    return decodeSuperblock(block)
  } finally {
    releaseAligned(block)
  }
}

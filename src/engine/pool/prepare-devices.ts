import { stat } from 'node:fs/promises'
import { VmcacheError, systemCode } from '../../base/errors.js'
import { FIRST_CHUNK_OFFSET } from '../../format/superblock.js'
import { MINIMUM_SHARE_CHUNKS } from '../../model/geometry.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import { createDeviceFile } from '../device/create-device-file.js'
import { describeDevice } from '../device/describe-device.js'
import type { Device } from '../device/device.js'
import { lockDevice, type DeviceLock } from '../device/lock-device.js'
import { openDevice } from '../device/open-device.js'
import type { Progress } from '../engine.js'
import { chunksOf } from './pool.js'
import { refuseDirty } from './refuse-dirty.js'
import { readSuperblock } from './superblocks.js'

export interface WantedDevice {
  readonly path: string
  readonly sizeBytes: number | null
}

const SCAN_BYTES = 4 * 1024 * 1024

/**
 * Looks at what would become devices of a cache: each exists with room for at least one chunk, all together for `leastChunks`, or its file is
 * going to be created.
 * Returns the steps that creation takes, for people, and the chunks that it gives. Changes nothing.
 */
export async function planDevices(
  wanted: readonly WantedDevice[],
  chunkBytes: number,
  leastChunks: number = MINIMUM_SHARE_CHUNKS,
): Promise<{ steps: string[]; chunks: number }> {
  const steps: string[] = []
  let chunks = 0
  for (const { path, sizeBytes } of wanted) {
    const exists = await existsAt(path)
    if (!exists && sizeBytes === null) {
      throw new VmcacheError('DEVICE_NOT_FOUND', `device ${path} does not exist`, {
        hint: `to create a file there, give its size: --device ${path},size=10g`,
        details: { path },
      })
    }
    const available = exists ? (await describeDevice(path)).sizeBytes : sizeBytes!
    if (sizeBytes !== null && sizeBytes > available) {
      throw new VmcacheError('REFUSED', `device ${path} has ${available} bytes, ${sizeBytes} were asked for`, {
        hint: 'leave the size out to use all of it',
        details: { path, sizeBytes: available },
      })
    }
    const usable = sizeBytes ?? available
    const given = chunksOf(usable, chunkBytes)
    if (given < 1) {
      throw new VmcacheError(
        'NO_SPACE',
        `device ${path} is too small: ${usable} bytes do not hold a superblock and one chunk of ${chunkBytes}`,
        {
          hint: `at least ${FIRST_CHUNK_OFFSET + leastChunks * chunkBytes} bytes`,
          details: { path },
        },
      )
    }
    chunks += given
    if (!exists) steps.push(`create file ${path} with ${usable} bytes`)
    steps.push(`write a superblock to ${path}: ${given} chunks`)
  }
  if (chunks < leastChunks) {
    const smaller = wanted.length === 1 ? ` of the ${wanted[0]!.path}` : ''
    throw new VmcacheError(
      'NO_SPACE',
      `the devices give ${chunks} chunks of ${chunkBytes} bytes, a disk needs ${MINIMUM_SHARE_CHUNKS}`,
      {
        hint: `larger devices, or a smaller --chunk-size${smaller}`,
      },
    )
  }
  return { steps, chunks }
}

export interface PreparedDevice {
  readonly device: Device
  readonly lock: DeviceLock
  readonly usedBytes: number
}

/**
 * Creates missing files, refuses what holds anything unless `force`, and what an origin lacks in any case (DIRTY_DATA), and opens and locks the
 * devices. Closes them again where one fails.
 */
export async function prepareDevices(
  wanted: readonly WantedDevice[],
  options: { readonly force: boolean; readonly progress: Progress; readonly signal: AbortSignal },
): Promise<PreparedDevice[]> {
  const prepared: PreparedDevice[] = []
  try {
    for (const { path, sizeBytes } of wanted) {
      const exists = await existsAt(path)
      if (!exists) await createDeviceFile(path, sizeBytes!, options)
      const lock = await lockDevice(path)
      const device = await openDevice(path).catch(async (error: unknown) => {
        await lock.release()
        throw error
      })
      prepared.push({ device, lock, usedBytes: sizeBytes ?? device.sizeBytes })
      if (exists) await refuseContent(device, options)
      if (exists && (await describeDevice(path)).kind === 'file')
        await writeFull(device, sizeBytes ?? device.sizeBytes, options)
    }
    return prepared
  } catch (error) {
    await closePrepared(prepared)
    throw error
  }
}

export async function closePrepared(prepared: readonly PreparedDevice[]): Promise<void> {
  for (const { device, lock } of prepared) {
    await device.close()
    await lock.release()
  }
}

async function existsAt(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false
    throw error
  }
}

async function refuseContent(
  device: Device,
  { force, signal }: { readonly force: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const superblock = await readSuperblock(device).catch((error: unknown) => {
    if (error instanceof VmcacheError && error.code === 'CORRUPT') return undefined
    throw error
  })
  if (superblock !== undefined) await refuseDirty(device, superblock, signal)
  if (force) return
  if (superblock !== undefined) {
    throw new VmcacheError('DEVICE_NOT_EMPTY', `device ${device.path} belongs to cache ${superblock.cacheName}`, {
      hint: `vmcache cache import --device ${device.path} opens it; --force destroys it`,
      details: { path: device.path, cache: superblock.cacheName },
    })
  }
  const buffer = alignedBuffer(SCAN_BYTES)
  try {
    for (let at = 0; at < device.sizeBytes; at += SCAN_BYTES) {
      if (signal.aborted) throw new VmcacheError('INTERRUPTED', `the look through device ${device.path} was cancelled`)
      const length = Math.min(SCAN_BYTES, device.sizeBytes - at)
      await device.read(at, buffer, 0, length)
      const offset = firstNonZero(buffer.subarray(0, length))
      if (offset === -1) continue
      throw new VmcacheError(
        'DEVICE_NOT_EMPTY',
        `device ${device.path} is not empty: it holds data at byte ${at + offset}`,
        {
          hint: 'use another device; --force overwrites this one',
          details: { path: device.path, offset: at + offset },
        },
      )
    }
  } finally {
    releaseAligned(buffer)
  }
}

function firstNonZero(bytes: Buffer): number {
  const words = new Float64Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 8))
  // A word of zeroes is the number 0; -0 has a bit set, and Object.is tells them apart.
  for (let index = 0; index < words.length; index++) if (!Object.is(words[index], 0)) return index * 8
  return -1
}

/** Writes a file device full once, which commits rely on. */
async function writeFull(
  device: Device,
  bytes: number,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<void> {
  const zeroes = alignedBuffer(SCAN_BYTES).fill(0)
  try {
    for (let at = 0; at < bytes; at += SCAN_BYTES) {
      if (signal.aborted)
        throw new VmcacheError('INTERRUPTED', `the preparation of device ${device.path} was cancelled`)
      const length = Math.min(SCAN_BYTES, bytes - at)
      await device.write(at, zeroes.subarray(0, length))
      await device.commit([{ offset: at, length }])
      progress(at + length, bytes, 'bytes')
    }
  } finally {
    releaseAligned(zeroes)
  }
}

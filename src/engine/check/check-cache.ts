import { appendTo } from '../../base/append-to.js'
import { systemClock, type Clock } from '../../base/clock.js'
import { CHUNK_HEADER_BYTES, CHUNK_KIND, readChunkHeader, type ChunkHeader } from '../../format/chunk-header.js'
import { decodeObjectHeader } from '../../format/object-header.js'
import type { CacheCheckDocument, CheckedCheckpoint, CheckedLog } from '../../protocol/control/cache-check.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { lockDevice, type DeviceLock } from '../device/lock-device.js'
import { openDevice } from '../device/open-device.js'
import type { Progress } from '../engine.js'
import type { FoundChunk } from '../log/recovery.js'
import type { ObjectChunk } from '../object/stored-object.js'
import { chunkOffset } from '../pool/pool.js'
import { newerFormat } from '../pool/superblocks.js'
import { checkDevices, type CheckableDevice } from './check-devices.js'
import { checkLog } from './check-log.js'
import { checkObject } from './check-object.js'
import { Findings } from './findings.js'

export interface CheckOptions {
  /** Mends what can be mended without deciding anything: the second copy of a superblock, a summary, chunks that a session left. */
  readonly repair: boolean
  readonly progress: Progress
  readonly signal: AbortSignal
  readonly clock?: Clock
}

/**
 * Reads all of a cache that no engine has open, data included. IN_USE where one has; DEVICE_FOREIGN and CORRUPT where the devices are not
 * those of one cache, or cannot be read as such. Without `repair` nothing is written.
 */
export async function checkCache(paths: readonly string[], options: CheckOptions): Promise<CacheCheckDocument> {
  const locks: DeviceLock[] = []
  const devices: Device[] = []
  try {
    for (const path of paths) {
      locks.push(await lockDevice(path))
      devices.push(await openDevice(path, { readOnly: !options.repair }))
    }
    return await checkOpened(devices, options)
  } finally {
    for (const device of devices) await device.close()
    for (const lock of locks) await lock.release()
  }
}

async function checkOpened(
  opened: readonly Device[],
  { repair, progress, signal, clock = systemClock }: CheckOptions,
): Promise<CacheCheckDocument> {
  const findings = new Findings(repair, signal)
  const devices = await checkDevices(opened, findings)
  const { cacheId, cacheName, chunkBytes } = devices[0]!.superblock
  const { logs: found, objects, damaged } = await readHeaders(devices, findings)
  const total = devices.reduce((sum, { superblock }) => sum + superblock.chunkCount, 0)
  const [ofLogs, ofObjects] = [countOf(found), countOf(objects)]
  let done = 0
  const checked = (): void => progress(++done, ofLogs + ofObjects, 'chunks')
  const logs: CheckedLog[] = []
  let leftOfLogs = 0
  for (const [logId, chunks] of found) {
    const { log, leftChunks } = await checkLog(logId, chunks, { cacheId, chunkBytes, clock, findings, checked })
    logs.push(log)
    leftOfLogs += leftChunks
  }
  const isWhole = devices.length === devices[0]!.superblock.devices.length
  const checkpoints: CheckedCheckpoint[] = []
  for (const [id, chunks] of objects) {
    const checkpoint = await checkObject(id, chunks, { cacheId, chunkBytes, clock, findings, isWhole })
    if (checkpoint !== undefined) checkpoints.push(checkpoint)
    for (const _ of chunks) checked()
  }
  const checkpoint = checkpoints.reduce((sum, { chunks }) => sum + chunks, 0)
  return {
    cache: cacheName,
    cacheId,
    devices: devices.map(({ device: { path, sizeBytes }, superblock: { deviceId, chunkCount } }) => ({
      id: deviceId,
      path,
      sizeBytes,
      chunks: chunkCount,
    })),
    chunks: {
      total,
      free: total - ofLogs - ofObjects - damaged,
      log: ofLogs - leftOfLogs,
      checkpoint,
      left: leftOfLogs + ofObjects - checkpoint,
      damaged,
    },
    logs,
    checkpoints,
    findings: findings.list,
    repaired: findings.list.filter(({ repaired }) => repaired).length,
  }
}

function countOf(chunks: ReadonlyMap<string, readonly unknown[]>): number {
  return [...chunks.values()].reduce((sum, { length }) => sum + length, 0)
}

/** The chunks of each log and object, by the headers on the devices; reads only. */
export async function readHeaders(
  devices: readonly CheckableDevice[],
  findings: Findings,
): Promise<{ logs: Map<string, FoundChunk[]>; objects: Map<string, ObjectChunk[]>; damaged: number }> {
  const logs = new Map<string, FoundChunk[]>()
  const objects = new Map<string, ObjectChunk[]>()
  let damaged = 0
  const block = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    for (const { device, superblock } of devices) {
      for (let index = 0; index < superblock.chunkCount; index++) {
        findings.throwIfCancelled()
        const offset = chunkOffset(superblock, index)
        await device.read(offset, block, 0, CHUNK_HEADER_BYTES)
        const reading = readChunkHeader(block, 0)
        if (reading.kind === 'newer') throw newerFormat(device.path, reading.version)
        if (reading.kind === 'damaged') {
          damaged++
          await findings.add({
            device: device.path,
            chunk: index,
            kind: 'chunk-header',
            seen: 'bytes that are no header',
            expected: 'the header that was written',
            effect: 'loses clean pages',
          })
        }
        const { deviceIndex } = superblock
        const at = { device, deviceIndex, index, offset }
        const ofObject = decodeObjectHeader(block, 0)
        if (ofObject?.cacheId === superblock.cacheId)
          appendTo(objects, ofObject.objectId, { chunk: { ...at, generation: ofObject.generation }, header: ofObject })
        if (reading.kind !== 'header' || !isLogOf(reading.header, superblock.cacheId)) continue
        const { header } = reading
        if (header.diskName === '') await reportNames(device.path, index, findings)
        appendTo(logs, header.logId, { chunk: { ...at, generation: header.generation }, header })
      }
    }
    return { logs, objects, damaged }
  } finally {
    releaseAligned(block)
  }
}

function isLogOf({ kind, cacheId }: ChunkHeader, wanted: string): boolean {
  return kind === CHUNK_KIND.log && cacheId === wanted
}

function reportNames(device: string, chunk: number, findings: Findings): Promise<void> {
  return findings.add({
    device,
    chunk,
    kind: 'chunk-names',
    seen: 'bytes that are no names',
    expected: 'the names of disk and origin, which an import reads',
    effect: 'harmless',
  })
}

import { systemClock, type Clock } from '../../base/clock.js'
import { CHUNK_HEADER_BYTES, CHUNK_KIND, readChunkHeader, type ChunkHeader } from '../../format/chunk-header.js'
import type { CacheCheckDocument, CheckedLog } from '../../protocol/control/cache-check.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { lockDevice, type DeviceLock } from '../device/lock-device.js'
import { openDevice } from '../device/open-device.js'
import type { Progress } from '../engine.js'
import type { FoundChunk } from '../log/recovery.js'
import { chunkOffset } from '../pool/pool.js'
import { newerFormat } from '../pool/superblocks.js'
import { checkDevices, type CheckableDevice } from './check-devices.js'
import { checkLog } from './check-log.js'
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
  const { logs: found, damaged } = await readHeaders(devices, findings)
  const total = devices.reduce((sum, { superblock }) => sum + superblock.chunkCount, 0)
  const ofLogs = [...found.values()].reduce((sum, chunks) => sum + chunks.length, 0)
  let done = 0
  const checked = (): void => progress(++done, ofLogs, 'chunks')
  const logs: CheckedLog[] = []
  let left = 0
  for (const [logId, chunks] of found) {
    const { log, leftChunks } = await checkLog(logId, chunks, { cacheId, chunkBytes, clock, findings, checked })
    logs.push(log)
    left += leftChunks
  }
  return {
    cache: cacheName,
    cacheId,
    devices: devices.map(({ device: { path, sizeBytes }, superblock: { deviceId, chunkCount } }) => ({
      id: deviceId,
      path,
      sizeBytes,
      chunks: chunkCount,
    })),
    chunks: { total, free: total - ofLogs - damaged, log: ofLogs - left, left, damaged },
    logs,
    findings: findings.list,
    repaired: findings.list.filter(({ repaired }) => repaired).length,
  }
}

/** The chunks of each log, by the headers on the devices; reads only. */
export async function readHeaders(
  devices: readonly CheckableDevice[],
  findings: Findings,
): Promise<{ logs: Map<string, FoundChunk[]>; damaged: number }> {
  const logs = new Map<string, FoundChunk[]>()
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
        if (reading.kind !== 'header' || !isLogOf(reading.header, superblock.cacheId)) continue
        const { header } = reading
        if (header.diskName === '') await reportNames(device.path, index, findings)
        const { deviceIndex } = superblock
        const chunk = { device, deviceIndex, index, offset, generation: header.generation }
        const ofLog = logs.get(header.logId)
        if (ofLog === undefined) logs.set(header.logId, [{ chunk, header }])
        else ofLog.push({ chunk, header })
      }
    }
    return { logs, damaged }
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

import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.js'
import { createLogger, type LogLevel } from '../../base/logger.js'
import { DiskCounters } from '../statistics/disk-counters.js'
import { SharedDiskMeter } from '../statistics/disk-meter.js'
import { Calls } from './calls.js'
import type { MainCalls, ThreadCalls } from './messages.js'
import { NOTHING_SCRUBBED } from './scrub-log.js'
import { serveShared } from './serve-shared.js'
import { ThreadCache } from './thread-cache.js'
import { ThreadDisk } from './thread-disk.js'

export interface ThreadData {
  readonly number: number
  readonly logLevel: LogLevel
}

assert(parentPort !== null, 'an I/O thread is started by the main thread')
const { number, logLevel } = workerData as ThreadData
const logger = createLogger({ level: logLevel, part: `io-${number}` })
const caches = new Map<string, ThreadCache>()
const disks = new Map<string, ThreadDisk>()

const main: Calls<MainCalls, ThreadCalls> = new Calls<MainCalls, ThreadCalls>(parentPort, {
  async openCache(settings) {
    const { cacheId } = settings
    const cache = await ThreadCache.open(settings, {
      want: () => void main.call('wantChunks', { cacheId }),
      give: (chunks) => void main.call('giveChunks', { cacheId, chunks }),
      failed: (deviceIndex, reason) => void main.call('deviceFailed', { cacheId, deviceIndex, reason }),
      left: () => {
        for (const disk of disks.values()) disk.leaveFailedDevices()
      },
    })
    caches.set(cacheId, cache)
  },
  async closeCache(cacheId) {
    await caches.get(cacheId)?.close()
    caches.delete(cacheId)
  },
  openDevice: ({ cacheId, deviceIndex, path }) => cacheById(cacheId).openDevice(deviceIndex, path),
  closeDevice: ({ cacheId, deviceIndex }) => cacheById(cacheId).closeDevice(deviceIndex),
  retireDevice: ({ cacheId, deviceIndex }) => cacheById(cacheId).retire(deviceIndex),
  readmitDevice({ cacheId, deviceIndex }) {
    const cache = cacheById(cacheId)
    cache.readmit(deviceIndex)
    for (const disk of disks.values()) if (disk.logs.place?.cache === cache) disk.disk.log?.readmit(deviceIndex)
  },
  collect: ({ cacheId, isCollecting }) => caches.get(cacheId)?.collect(isCollecting),
  vacateDevice: ({ name, deviceIndex }) => disks.get(name)?.disk.log?.vacate(deviceIndex) ?? 0,
  async attach(wanted) {
    const cache = wanted.place === null ? undefined : cacheById(wanted.place.cacheId)
    const disk = await ThreadDisk.open(wanted, cache, main, logger).catch((error: unknown) => {
      for (const port of wanted.readers) port.close()
      throw error
    })
    disks.set(wanted.settings.name, disk)
    disk.leaveFailedDevices()
    return disk.status()
  },
  share({ owner, counters }) {
    serveShared(owner, { meter: new SharedDiskMeter(new DiskCounters(counters)), logger, cacheById })
  },
  async resumeLog({ name, epoch, place: { cacheId, found, maximumChunks } }) {
    const disk = diskNamed(name)
    await disk.resumeLog({ cache: cacheById(cacheId), epoch, maximumChunks }, found)
    return disk.status()
  },
  async detach({ name, ...options }) {
    const chunks = await diskNamed(name).close(options)
    disks.delete(name)
    return chunks
  },
  flush: ({ name, holdMilliseconds }) => diskNamed(name).flush(holdMilliseconds),
  cancel: (name) => disks.get(name)?.cancel(),
  invalidate: (name) => diskNamed(name).invalidate(),
  scrub: ({ name, position }) => disks.get(name)?.scrub(position) ?? NOTHING_SCRUBBED,
  async change({ name, mode, replacement, maximumChunks, writeBack }) {
    const disk = diskNamed(name)
    if (writeBack !== undefined) disk.writeBack.settings = writeBack
    if (replacement !== undefined) await disk.setReplacement(replacement)
    if (mode !== undefined) await disk.setMode(mode)
    if (maximumChunks !== undefined) disk.setMaximumChunks(maximumChunks)
    return disk.status()
  },
  status: () => [...disks.values()].map((disk) => disk.status()),
  grant({ cacheId, chunks, exhausted }) {
    const cache = caches.get(cacheId)
    if (cache === undefined) void main.call('giveChunks', { cacheId, chunks })
    else cache.granted(chunks, exhausted)
  },
  leaveDevice: ({ cacheId, deviceIndex, reason }) => caches.get(cacheId)?.leave(deviceIndex, reason),
  async shrink({ name, count }) {
    await disks.get(name)?.disk.log?.shrink(count)
  },
})

function cacheById(cacheId: string): ThreadCache {
  const cache = caches.get(cacheId)
  assert(cache !== undefined, 'a disk has its log in an open cache')
  return cache
}

function diskNamed(name: string): ThreadDisk {
  const disk = disks.get(name)
  assert(disk !== undefined, `disk ${name} is served by this thread`)
  return disk
}

import { formatDuration, formatSize } from '../base/units.js'
import type { CacheDocument, DiskDocument, EngineDocument } from '../protocol/control/documents.js'
import { attention } from './attention.js'
import { cacheDocuments } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocuments } from './disk-document.js'
import type { Operations } from './operation.js'

export function engineStatus(plane: ControlPlane): Operations['engine.status'] {
  return async () => engineDocument(plane, cacheDocuments(plane), await diskDocuments(plane))
}

/** The engine's own state, over documents that the caller has already. */
export function engineDocument(plane: ControlPlane, caches: CacheDocument[], disks: DiskDocument[]): EngineDocument {
  const { engine, host, machine, version, startedAt, controlSocket, phase } = plane
  return {
    host: host.name,
    hostId: host.id,
    state: phase,
    pid: machine.processId,
    version,
    startedAt,
    socket: controlSocket,
    ioThreads: engine.ioThreads,
    ioBackend: engine.ioBackend,
    caches: caches.map((cache) => cache.name),
    degraded: attention(plane, caches, disks),
    safeToReboot: safeToReboot(plane, disks),
  }
}

/** A reboot loses nothing and interrupts nothing when no origin lacks a write and no job runs. */
function safeToReboot({ runningJobs }: ControlPlane, disks: readonly DiskDocument[]): EngineDocument['safeToReboot'] {
  const dirty = disks.filter((disk) => disk.dirtyBytes > 0)
  const unserved = disks.filter((disk) => disk.lacksWrites && ['waiting', 'changed', 'failed'].includes(disk.state))
  const jobs = runningJobs()
  const reasons = [
    ...dirty.map(({ disk, dirtyBytes, dirtyAgeSeconds }) => {
      const age = dirtyAgeSeconds === null ? '' : `, the oldest for ${formatDuration(dirtyAgeSeconds)}`
      return `disk ${disk}: ${formatSize(dirtyBytes)} that the origin lacks${age}`
    }),
    ...unserved
      .filter((disk) => !dirty.includes(disk))
      .map(({ disk, state }) => `disk ${disk}: its origin lacks writes, and it is ${state}`),
    ...jobs.map(({ kind, object }) => `job ${kind} of ${object} runs`),
  ]
  const times = dirty.map((disk) => disk.secondsToFlush)
  const known = jobs.length === 0 && unserved.length === 0 && times.every((time) => time !== null)
  return { now: reasons.length === 0, reasons, secondsUntil: known ? Math.max(0, ...times) : null }
}

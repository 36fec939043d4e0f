import type { MessagePort } from 'node:worker_threads'
import type { DiskState } from '../../protocol/control/documents.js'
import type { Mode } from '../../model/mode.js'
import type { DiskPhase } from '../../model/phase.js'
import type { WriteBackSettings } from '../../model/write-back.js'
import type { DirtyStatus } from '../disk/write-back-path.js'
import type { DiskSettings } from '../engine.js'
import type { ChunkPlace, FoundChunkPlace } from '../pool/pool.js'
import type { MendedSlice } from '../scrub/scrub-disks.js'
import type { ScrubPosition } from '../scrub/scrub-slice.js'
import type { CloseOptions } from './thread-disk.js'

export interface ThreadCacheSettings {
  readonly cacheId: string
  readonly chunkBytes: number
  readonly firstChunkOffset: number
  readonly devices: readonly string[]
  /** Where the thread writes how many free chunks it keeps; one 32-bit number. */
  readonly spareCount: SharedArrayBuffer
}

/** Where a disk is to have its log. */
export interface ThreadLogPlace {
  readonly cacheId: string
  /** Chunks that the disk's log has there. */
  readonly found: readonly FoundChunkPlace[]
  readonly maximumChunks: number
}

export interface ThreadDiskSettings {
  readonly settings: DiskSettings
  /** Null where the disk is served directly. */
  readonly place: ThreadLogPlace | null
  readonly counters: SharedArrayBuffer
  /** Threads that serve it as well, where it is read-only. */
  readonly readers: readonly MessagePort[]
}

/** A read-only disk that another thread owns. */
export interface SharedDiskSettings {
  /** To the owner. */
  readonly owner: MessagePort
  readonly counters: SharedArrayBuffer
}

/** What a thread says of a disk that it serves. */
export interface ThreadDiskStatus {
  readonly name: string
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly mode: Mode
  readonly state: DiskState
  readonly reason: string | null
  readonly chunks: number
  /** Pages that came back soon after they had left, since its log or its replacement is another; undefined where that is not known. */
  readonly returns: number | undefined
  readonly cachedBytes: number
  readonly indexBytes: number
  readonly badPages: number
  readonly phase: DiskPhase
  readonly dirty: DirtyStatus
}

/** What the main thread asks of an I/O thread. */
export interface ThreadCalls {
  openCache(cache: ThreadCacheSettings): void
  closeCache(cacheId: string): void
  /** A device that the cache was given, at that position. */
  openDevice(device: { cacheId: string; deviceIndex: number; path: string }): void
  /** A device of which nothing is held any more. */
  closeDevice(device: { cacheId: string; deviceIndex: number }): void
  /** Free chunks of the device are given back, and none is kept, until `readmitDevice`. */
  retireDevice(device: { cacheId: string; deviceIndex: number }): void
  readmitDevice(device: { cacheId: string; deviceIndex: number }): void
  /** Others need chunks: all free ones are given back, and none is kept, until it is called with false. */
  collect(options: { cacheId: string; isCollecting: boolean }): void
  /** Moves a disk's log off a device, as far as that is possible now; returns how many chunks it has left there. */
  vacateDevice(device: { name: string; deviceIndex: number }): number
  attach(disk: ThreadDiskSettings): ThreadDiskStatus
  /** Serves connections of a disk for another thread, until that one detaches it. */
  share(disk: SharedDiskSettings): void
  resumeLog(options: { name: string; epoch: number; place: ThreadLogPlace }): ThreadDiskStatus
  /** Returns the chunks that the closed log keeps. */
  detach(options: { name: string } & CloseOptions): ChunkPlace[]
  /** After it the origin has everything, and for `holdMilliseconds` it stays so. */
  flush(options: { name: string; holdMilliseconds: number }): void
  /** Ends a change of mode, a flush or a detach that waits for the origin to take what is dirty. */
  cancel(name: string): void
  invalidate(name: string): void
  /** Reads a part of the disk's log back and mends what is clean; nothing of a disk that has none, or is not served any more. */
  scrub(options: { name: string; position: ScrubPosition }): MendedSlice
  change(options: {
    name: string
    mode?: Mode
    replacement?: string
    maximumChunks?: number
    writeBack?: WriteBackSettings
  }): ThreadDiskStatus
  status(_: null): ThreadDiskStatus[]
  /** Free chunks; `exhausted` says that there are no more behind them. */
  grant(options: { cacheId: string; chunks: readonly ChunkPlace[]; exhausted: boolean }): void
  /** Another thread met the failure of a device: it is not used any more. */
  leaveDevice(options: { cacheId: string; deviceIndex: number; reason: string }): void
  /** Gives back chunks until the disk has at most `count`. */
  shrink(options: { name: string; count: number }): void
}

/** What an I/O thread asks of the main thread. */
export interface MainCalls {
  /** The thread has no free chunk of this cache left; the answer is a grant. */
  wantChunks(options: { cacheId: string }): void
  giveChunks(options: { cacheId: string; chunks: readonly ChunkPlace[] }): void
  /** A device gave an error. */
  deviceFailed(options: { cacheId: string; deviceIndex: number; reason: string }): void
  raiseEpoch(disk: string): void
  stateChanged(options: { disk: string; state: DiskState; reason: string | null }): void
}

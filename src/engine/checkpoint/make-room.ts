import type { Clock } from '../../base/clock.js'
import { VmcacheError } from '../../base/errors.js'
import { interrupted } from './checkpoint-socket.js'

/** How long it waits before it looks again what logs have given up. */
const LOOK_MILLISECONDS = 20
/** How long nothing may come before those are passed over that wait for their origins. */
const STALL_MILLISECONDS = 1000
/** How long nothing may come before it is given up. */
const PATIENCE_MILLISECONDS = 10_000

/** A disk whose log may have fewer chunks. */
export interface Giver {
  readonly name: string
  /** Those that its log has now. */
  readonly chunks: number
  /** It is never asked for those. */
  readonly floor: number
  readonly shares: number
  readonly isDirty: boolean
  /** Gives back what it can now, until it has at most `count`, and takes no more. */
  limit(count: number): Promise<void>
  /** Ends when the origin has everything that was written before. */
  flush(): Promise<void>
}

export interface Room {
  readonly cache: string
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Chunks that are free for the purpose now. */
  readonly free: () => number
  /** The disks of the cache as they are now. */
  readonly givers: () => Promise<readonly Giver[]>
}

/**
 * Has logs give up chunks until `wanted` are free: first those that have most for their shares. What is dirty goes to its origin first. NO_SPACE
 * where logs have no more to give, or their origins do not take what is dirty; INTERRUPTED. Whoever calls gives the logs their limits back.
 */
export async function makeRoom(wanted: number, { cache, clock, signal, free, givers }: Room): Promise<void> {
  const origins = new Origins()
  let most = -1
  let lastGain = clock.monotonic()
  let isAsked = false
  while (free() < wanted) {
    if (signal.aborted) throw interrupted('it was cancelled')
    const disks = await givers()
    const found = free()
    if (found > most) {
      most = found
      lastGain = clock.monotonic()
    }
    if (clock.monotonic() - lastGain > STALL_MILLISECONDS) origins.giveUp()
    const others = disks.filter(({ name }) => !origins.stuck.has(name))
    const limits = limitsOf(others, wanted - found) ?? limitsOf(disks, wanted - found)
    if (limits === undefined && !isAsked) throw noRoom(cache, wanted, found, disks)
    if (clock.monotonic() - lastGain > PATIENCE_MILLISECONDS) throw noRoom(cache, wanted, found, disks)
    const pause = new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve))
    // What logs were asked for last, and is on its way, is not to be asked for twice.
    if (isAsked || limits === undefined) {
      await pause
      continue
    }
    for (const [disk] of limits) if (disk.isDirty) origins.flush(disk)
    isAsked = true
    // A disk that is detached meanwhile gives up more than that.
    const given = Promise.allSettled([...limits].map(([disk, limit]) => disk.limit(limit))).then(
      () => (isAsked = false),
    )
    await Promise.race([given, pause])
    if (free() < wanted) await pause
  }
}

/** Which disks wait for their origins to take what is dirty, and which have waited in vain so far. */
class Origins {
  readonly #flushing = new Set<string>()
  readonly stuck = new Set<string>()

  flush({ name, flush }: Giver): void {
    if (this.#flushing.has(name)) return
    this.#flushing.add(name)
    flush()
      .then(
        () => this.stuck.delete(name),
        () => this.stuck.add(name),
      )
      .finally(() => this.#flushing.delete(name))
  }

  /** Nothing has come for a while. */
  giveUp(): void {
    for (const name of this.#flushing) this.stuck.add(name)
  }
}

/** How many chunks each log that gives some may keep; undefined where all of them cannot give so many. */
export function limitsOf(disks: readonly Giver[], count: number): Map<Giver, number> | undefined {
  const limits = new Map<Giver, number>()
  const left = (disk: Giver): number => limits.get(disk) ?? disk.chunks
  for (let given = 0; given < count; given++) {
    let giver: Giver | undefined
    for (const disk of disks) {
      if (left(disk) <= disk.floor) continue
      if (giver === undefined || left(disk) / disk.shares > left(giver) / giver.shares) giver = disk
    }
    if (giver === undefined) return undefined
    limits.set(giver, left(giver) - 1)
  }
  return limits
}

function noRoom(cache: string, wanted: number, free: number, disks: readonly Giver[]): VmcacheError {
  const dirty = disks.filter(({ isDirty }) => isDirty).map(({ name }) => name)
  const why =
    dirty.length > 0
      ? `the origins of these disks do not take what is dirty: ${dirty.join(', ')}`
      : 'its disks give up no more'
  return new VmcacheError('NO_SPACE', `cache ${cache} has ${free} free chunks, ${wanted} are needed; ${why}`, {
    hint: 'add a device to the cache, delete a checkpoint, or lower the min of a disk',
    details: { cache, wantedChunks: wanted, freeChunks: free, dirtyDisks: dirty },
  })
}

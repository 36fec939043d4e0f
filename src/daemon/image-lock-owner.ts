import type { Clock } from '../base/clock.js'
import { messageOf, VmcacheError } from '../base/errors.js'
import type { ImageLock } from '../base/image-lock.js'
import type { Logger } from '../base/logger.js'
import { isListable, type ImageLockList, type ListedImage } from './image-lock-list.js'

/**
 * The image locks of this host's engines. They outlive an engine, so nobody else writes an image that lacks writes while one is
 * restarted; and every lock is listed on stable storage before it is taken, so a supervisor that starts takes it again, also after
 * a reboot and without an engine.
 */
export interface ImageLockOwner {
  /**
   * Takes every listed lock. What cannot be had now (storage that is not mounted yet, a program that has the image open) is tried
   * again until it is had or given back. Ends when all have been tried, or after the patience.
   */
  retake(): Promise<void>
  /** Locks the image of a disk; ends at once where it is locked already. IN_USE where somebody else has it. */
  lock(path: string, disk: string): Promise<void>
  unlock(path: string): Promise<void>
  /** Lets go of all, and leaves them listed: the next supervisor takes them again. */
  releaseAll(): Promise<void>
}

export interface ImageLockOwnerOptions {
  readonly acquire: (path: string) => Promise<ImageLock>
  readonly list: ImageLockList
  readonly clock: Clock
  readonly logger: Logger
}

/** Storage that hangs must not keep the engine from serving other disks. */
const PATIENCE_MILLISECONDS = 5000
const RETRY_MILLISECONDS = 1000

export function createImageLockOwner({ acquire, list, clock, logger }: ImageLockOwnerOptions): ImageLockOwner {
  const listed = new Map<string, ListedImage>()
  const held = new Map<string, Promise<ImageLock>>()
  let saving: Promise<void> = Promise.resolve()
  let isClosed = false

  /** Writes what is listed when its turn comes; one at a time. */
  function save(): Promise<void> {
    const turn = saving.then(() => list.write([...listed.values()]))
    saving = turn.catch(() => undefined)
    return turn
  }

  /** One attempt at a time on each image, whoever asks. */
  async function take(path: string): Promise<void> {
    let lock = held.get(path)
    if (lock === undefined) {
      lock = acquire(path)
      held.set(path, lock)
      lock.catch(() => held.delete(path))
    }
    await lock
  }

  async function takeListed({ path, disk }: ListedImage): Promise<void> {
    try {
      await take(path)
      logger.info({ path, disk }, 'image locked: it may lack writes')
    } catch (error) {
      logger.warn({ path, disk, reason: messageOf(error) }, 'image that may lack writes is not locked')
      tryAgain(path)
    }
  }

  function tryAgain(path: string): void {
    clock.after(RETRY_MILLISECONDS, () => {
      if (isClosed || !listed.has(path)) return
      take(path).then(
        () => logger.info({ path }, 'image locked: it may lack writes'),
        () => tryAgain(path),
      )
    })
  }

  return {
    async retake() {
      for (const image of await list.read()) listed.set(image.path, image)
      await within(clock, PATIENCE_MILLISECONDS, Promise.all([...listed.values()].map(takeListed)))
    },

    async lock(path, disk) {
      const image = { path, disk }
      if (!isListable(image)) {
        throw new VmcacheError(
          'BAD_NAME',
          `image ${JSON.stringify(path)} cannot be locked: its path has control characters`,
        )
      }
      const before = listed.get(path)
      try {
        listed.set(path, image)
        if (before?.disk !== disk) await save()
        await take(path)
      } catch (error) {
        // What was listed before is needed whatever becomes of this request.
        if (before === undefined) listed.delete(path)
        else listed.set(path, before)
        await save().catch(() => undefined)
        throw error
      }
    },

    async unlock(path) {
      const lock = held.get(path)
      held.delete(path)
      if (listed.delete(path)) await save()
      const taken = await lock?.catch(() => null)
      await taken?.release()
    },

    async releaseAll() {
      isClosed = true
      const locks = [...held.values()]
      held.clear()
      await Promise.allSettled(locks.map(async (lock) => (await lock).release()))
    },
  }
}

/** Ends with `work`, or after the time. */
function within(clock: Clock, milliseconds: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(milliseconds, resolve)
    work.then(() => resolve(), reject).finally(cancel)
  })
}

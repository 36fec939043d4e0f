import type { ImageLock } from '../base/image-lock.js'

/** The image locks of this host's engines. They outlive an engine, so nobody else writes an origin while one is restarted. */
export interface ImageLockOwner {
  /** Locks an image that is not locked yet. */
  lock(path: string): Promise<void>
  unlock(path: string): Promise<void>
  releaseAll(): Promise<void>
}

export function createImageLockOwner(acquire: (path: string) => Promise<ImageLock>): ImageLockOwner {
  const held = new Map<string, Promise<ImageLock>>()

  const unlock = async (path: string): Promise<void> => {
    const lock = held.get(path)
    held.delete(path)
    await (await lock)?.release()
  }

  return {
    async lock(path) {
      let lock = held.get(path)
      if (lock === undefined) {
        lock = acquire(path)
        held.set(path, lock)
        lock.catch(() => held.delete(path))
      }
      await lock
    },
    unlock,
    releaseAll: async () => void (await Promise.allSettled([...held.keys()].map(unlock))),
  }
}

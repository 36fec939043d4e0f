/**
 * operations/: one file per intention (create a cache, attach a disk, flush ...): the control plane, over the state database, the
 * engine and the supervisor through interfaces. An operation validates against what is, does the thing or says
 * what it would do, records intention and event, and returns the JSON document of its command.
 */
import type { Progress } from '../engine/engine.js'
import type { Operation, RequestOf, ResponseOf } from '../protocol/control/routes.js'

export interface OperationContext {
  readonly progress: Progress
  /** Aborted by `job cancel`; an operation that was begun rolls back or stops at a point from which it can be repeated. */
  readonly signal: AbortSignal
  /** Who asked: `root (uid 0)`, `policy` ... */
  readonly who: string
}

export type Operations = {
  [
    O in Exclude<Operation, 'job.list' | 'job.show' | 'job.cancel' | 'engine.stop' | 'engine.restart' | 'config.show'>
  ]: (request: RequestOf<O>, context: OperationContext) => Promise<ResponseOf<O>>
}

/**
 * Listening sockets that outlive an engine: the supervisor owns them, so a client that connects while the engine is away
 * waits in the backlog.
 */
export interface SocketKeeper {
  /** Creates (or finds) the listening unix socket at `path` and returns a descriptor of it in this process. */
  listen(path: string): Promise<number>
  /** Closes and unlinks it. */
  close(path: string): Promise<void>
}

/** QEMU-compatible image locks, held by the supervisor so that they outlive an engine, and taken again after a reboot. */
export interface ImageLocks {
  /** Locks the image file or block device of a disk against every other QEMU; IN_USE where somebody holds it. */
  lock(path: string, disk: string): Promise<void>
  unlock(path: string): Promise<void>
}

import { messageOf, systemCode, VmcacheError, type ErrorCode } from '../../base/errors.js'
import type { Clock } from '../../base/clock.js'
import { CHUNK_HEADER_BYTES } from '../../format/chunk-header.js'
import { CHECKPOINT_FILE_CHUNK_BYTES, decodeObjectHeader } from '../../format/object-header.js'
import { checkpointOfFile, checkpointPath } from '../../model/checkpoint.js'
import type { CheckpointWatch, EngineCheckpoint } from '../checkpoint.js'
import { alignedBuffer, releaseAligned } from '../device/aligned-memory.js'
import type { Device } from '../device/device.js'
import { readAttributes, readStream } from '../object/read-object.js'
import { chunksFor, payloadBytesOf, storedObject, type StoredObject } from '../object/stored-object.js'
import { ObjectWriter, type ObjectTarget } from '../object/write-object.js'
import type { CheckpointKeeper, FilledSource } from './checkpoint-keeper.js'
import { acceptOne, interrupted } from './checkpoint-socket.js'
import type { CheckpointStorage } from './checkpoint-storage.js'
import { attributesOf, completeCheckpoint } from './complete-checkpoint.js'
import { describeCheckpoint } from './describe-checkpoint.js'
import { sendStream } from './send-stream.js'
import { createUnderWay } from './under-way.js'
import { watchCalls } from './watch-calls.js'

/** How long a storage may take to change names: one that hangs holds nobody up. */
const NAMES_MILLISECONDS = 10_000
/** How long it may take to say what is there, when somebody looks at a screen. */
const LIST_MILLISECONDS = 3000

/** Checkpoints in files: the first chunk of such an object begins with its file, and each next one follows the one before. */
export interface CheckpointFiles {
  /** Makes a directory for them, for good. */
  make(directory: string): Promise<void>
  at(directory: string): CheckpointKeeper
  /** Cancels what is under way and waits for its end. */
  close(): Promise<void>
}

type Place = Pick<ObjectTarget, 'chunkBytes' | 'medium'>

const PLACE: Place = { chunkBytes: CHECKPOINT_FILE_CHUNK_BYTES, medium: ({ device }) => Promise.resolve(device) }

export function createCheckpointFiles({
  storage,
  clock,
}: {
  storage: CheckpointStorage
  clock: Clock
}): CheckpointFiles {
  const underWay = createUnderWay()
  /** What was found in files once, by path: to look again costs a read of each. */
  const known = new Map<string, EngineCheckpoint>()
  /** Paths of files that are being changed. */
  const changing = new Set<string>()
  /** Looks that are under way, by directory. */
  const lists = new Map<string, Promise<EngineCheckpoint[]>>()

  /** FAILED where the directory is not there: what is in it is then away, not gone. */
  async function idsIn(directory: string): Promise<string[]> {
    const names = await storage.list(directory).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') throw error
      throw new VmcacheError('FAILED', `directory ${directory} is not there`, {
        hint: `mount its storage; where that is gone for good, make it anew: mkdir -p ${directory}`,
        details: { directory },
        cause: error,
      })
    })
    return names.flatMap((name) => checkpointOfFile(name) ?? [])
  }

  /**
   * Whoever changes a file is alone with it until the function that is returned is called: not before all that was begun has ended. Who waits
   * gives up what hangs; when it goes on it must not meet what came after it.
   */
  function enter(path: string): () => void {
    if (changing.has(path)) {
      throw new VmcacheError('FAILED', `${path} is being changed still: its storage does not answer`, {
        hint: 'see whether its storage is there',
        details: { path },
      })
    }
    changing.add(path)
    return () => void changing.delete(path)
  }

  /** A new file for what is not whole yet. */
  async function createPart(directory: string, id: string): Promise<Device> {
    const path = checkpointPath(directory, id)
    if (!(await idsIn(directory)).includes(id)) return storage.create(partOf(path))
    throw new VmcacheError('IN_USE', `${path} is there already`)
  }

  async function keep(directory: string, source: FilledSource, watch: CheckpointWatch): Promise<EngineCheckpoint> {
    const { id, createdAt } = source
    const attributes = attributesOf(source)
    const path = checkpointPath(directory, id)
    const part = partOf(path)
    const leave = enter(path)
    const creating = createPart(directory, id)
    const created = await inTime(part, creating).catch((error: unknown) => {
      creating.then((device) => device.close().finally(() => storage.remove(part))).then(leave, leave)
      throw error
    })
    const { device, timed, unlessHung } = watchCalls(created, clock, watch.signal)
    const writer = new ObjectWriter(targetIn(device, id), { id, createdAt, attributes })
    const release = async (): Promise<void> => {
      writer.release()
      // What counts was committed.
      await device.close().catch(() => undefined)
    }
    const complete = async (): Promise<StoredObject> => {
      const object = await completeCheckpoint(writer, source, watch)
      // What has that name is whole: it is on stable storage, and was read back from there.
      await timed(storage.rename(part, path))
      await timed(storage.syncDirectory(directory))
      return object
    }
    const completing = complete()
    const giveUp = async (): Promise<void> => {
      await completing.catch(() => undefined)
      await writer.settled()
      for (const name of [part, path]) await storage.remove(name).catch(() => undefined)
      await release()
    }
    try {
      const object = await unlessHung(completing)
      await release()
      leave()
      known.set(path, describeCheckpoint(object, '', fileBytesOf(object)))
      return describeCheckpoint(object, source.attributes, fileBytesOf(object))
    } catch (error) {
      // A VM may stand still until it hears of this: what hangs is left to itself.
      await inTime(path, giveUp().finally(leave)).catch(() => undefined)
      throw fileError(path, error)
    }
  }

  async function read<Result>(
    directory: string,
    id: string,
    watch: CheckpointWatch,
    use: (object: StoredObject, signal: AbortSignal) => Promise<Result>,
  ): Promise<Result> {
    const path = checkpointPath(directory, id)
    return underWay.run(watch.signal, async (signal) => {
      const { device, unlessHung } = watchCalls(await inTime(path, storage.open(path)), clock, signal)
      const using = objectIn(device, id).then((object) => use(object, signal))
      using.then(device.close, device.close).catch(() => undefined)
      try {
        return await unlessHung(using)
      } catch (error) {
        throw fileError(path, error)
      }
    })
  }

  async function describe(object: StoredObject): Promise<EngineCheckpoint> {
    return describeCheckpoint(object, (await readAttributes(object, PLACE)).toString(), fileBytesOf(object))
  }

  async function look(directory: string, id: string): Promise<EngineCheckpoint> {
    const path = checkpointPath(directory, id)
    const found = known.get(path)
    if (found !== undefined) return found
    try {
      const watch = { progress: () => undefined, signal: new AbortController().signal }
      const described = await read(directory, id, watch, async (object) =>
        describeCheckpoint(object, '', fileBytesOf(object)),
      )
      known.set(path, described)
      return described
    } catch (error) {
      return damaged(id, messageOf(error))
    }
  }

  /** Who asks while a directory hangs asks with those who wait for it. */
  function list(directory: string): Promise<EngineCheckpoint[]> {
    const listing = lists.get(directory) ?? find(directory).finally(() => lists.delete(directory))
    lists.set(directory, listing)
    return inTime(directory, listing, LIST_MILLISECONDS)
  }

  async function find(directory: string): Promise<EngineCheckpoint[]> {
    const found = await Promise.all((await idsIn(directory)).map((id) => look(directory, id)))
    return found.sort((a, b) => (a.createdAt < b.createdAt ? -1 : 1))
  }

  async function erase(directory: string, id: string): Promise<void> {
    const path = checkpointPath(directory, id)
    known.delete(path)
    const isThere = (await idsIn(directory)).includes(id)
    for (const each of [path, partOf(path)]) await storage.remove(each).catch(unlessGone)
    await storage.syncDirectory(directory)
    if (!isThere) throw new VmcacheError('NOT_FOUND', `${path} is not there`)
  }

  /** What a directory answers; FAILED where it does not in time. */
  async function inTime<Result>(
    path: string,
    work: Promise<Result>,
    milliseconds = NAMES_MILLISECONDS,
  ): Promise<Result> {
    let cancel = (): void => undefined
    const late = new Promise<never>((_, reject) => {
      const error = new VmcacheError('FAILED', `${path} does not answer`, { hint: 'see whether its storage is there' })
      cancel = clock.after(milliseconds, () => reject(error))
    })
    try {
      return await Promise.race([work, late])
    } catch (error) {
      throw fileError(path, error)
    } finally {
      cancel()
    }
  }

  return {
    make: (directory) => inTime(directory, storage.makeDirectory(directory)),
    at: (directory) => ({
      keep: (source, watch) => underWay.run(watch.signal, (signal) => keep(directory, source, { ...watch, signal })),
      verifyCheckpoint: (id, watch) =>
        read(directory, id, watch, async (object, signal) => {
          let done = 0
          for await (const { length } of readStream(object, PLACE)) {
            if (signal.aborted) throw interrupted('it was cancelled')
            watch.progress((done += length), object.seal!.streamBytes, 'bytes')
          }
          return describe(object)
        }),
      readCheckpoint: (id, socket, watch) =>
        read(directory, id, watch, async (object, signal) => {
          const connection = await acceptOne(socket, watch.ready, signal)
          let done = 0
          const sent = (bytes: number): void => watch.progress((done += bytes), object.seal!.streamBytes, 'bytes')
          await sendStream(connection, readStream(object, PLACE), { sent, signal })
        }),
      lend: (id, watch, use) =>
        read(directory, id, watch, async (object) => use(await describe(object), readStream(object, PLACE))),
      checkpoints: () => list(directory),
      deleteCheckpoint: (id) =>
        underWay.run(null, async () => {
          const leave = enter(checkpointPath(directory, id))
          await inTime(directory, erase(directory, id).finally(leave))
        }),
    }),
    close: () => underWay.close(),
  }
}

/** The name of a file until it is whole. */
function partOf(path: string): string {
  return `${path}.part`
}

function targetIn(device: Device, id: string): ObjectTarget {
  let index = 0
  const take = (): ObjectTarget['take'] extends () => infer Taken ? Taken : never => {
    const offset = index * CHECKPOINT_FILE_CHUNK_BYTES
    return Promise.resolve({ device, deviceIndex: 0, index: index++, offset, generation: 0 })
  }
  return { ...PLACE, cacheId: id, take }
}

/** The object in a file, of which its first header was read: that of each chunk is compared with it before the chunk is believed. */
async function objectIn(device: Device, id: string): Promise<StoredObject> {
  const block = alignedBuffer(CHUNK_HEADER_BYTES)
  try {
    await device.read(0, block, 0, CHUNK_HEADER_BYTES)
    const header = decodeObjectHeader(block, 0)
    const seal = header?.objectId === id ? header.seal : undefined
    if (header === undefined || seal === undefined) throw damage(device.path, 'its header is not whole')
    const { attributeBytes, streamBytes, chunkCount } = seal
    const isRight = chunkCount === chunksFor(attributeBytes, streamBytes, CHECKPOINT_FILE_CHUNK_BYTES)
    const chunks = Array.from({ length: isRight ? chunkCount : 1 }, (_, index) => {
      const offset = index * CHECKPOINT_FILE_CHUNK_BYTES
      const { generation } = header
      return { chunk: { device, deviceIndex: 0, index, offset, generation }, header: { ...header, number: index } }
    })
    const object = storedObject(id, chunks)
    if (object.state !== 'sealed' || object.damage !== null) throw damage(device.path, 'it was not finished')
    return object
  } finally {
    releaseAligned(block)
  }
}

function fileBytesOf({ chunks, seal }: StoredObject): number {
  return chunks.length * CHUNK_HEADER_BYTES + payloadBytesOf(seal!)
}

function damage(path: string, what: string): VmcacheError {
  return new VmcacheError('CORRUPT', `${path} is damaged: ${what}`, {
    hint: 'it cannot be resumed; see whose it is, and give it up: vmcache checkpoint list',
    details: { path },
  })
}

/** A file that cannot be read: nothing is known of it but its name. */
function damaged(id: string, reason: string): EngineCheckpoint {
  const [vm, createdAt] = ['00000000-0000-0000-0000-000000000000', new Date(0).toISOString()]
  return { id, vm, name: '', bytes: 0, storedBytes: 0, createdAt, attributes: '', damage: reason }
}

function unlessGone(error: unknown): void {
  if (systemCode(error) !== 'ENOENT') throw error
}

const MEANINGS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ['NOT_FOUND', 'is not there'],
  ENOTDIR: ['NOT_FOUND', 'is not there'],
  ENOSPC: ['NO_SPACE', 'has no room on its storage'],
  EDQUOT: ['NO_SPACE', 'has no room on its storage'],
  EACCES: ['DENIED', 'cannot be used: permission denied'],
  EPERM: ['DENIED', 'cannot be used: permission denied'],
  EROFS: ['DENIED', 'cannot be used: its file system is read-only'],
}

/** What a failed call for a file means to people. */
function fileError(path: string, cause: unknown): unknown {
  const code = systemCode(cause)
  if (cause instanceof VmcacheError || code === undefined) return cause
  const [meaning, words] = MEANINGS[code] ?? ['FAILED', `cannot be used: ${messageOf(cause)}`]
  return new VmcacheError(meaning, `${path} ${words}`, {
    hint: 'see whether its storage is there, and has room',
    details: { path },
    cause,
  })
}

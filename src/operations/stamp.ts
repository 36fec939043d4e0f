import { constants, type Stats } from 'node:fs'
import { open, rename, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from '../base/clock.js'
import { messageOf, systemCode, VmcacheError } from '../base/errors.js'
import { lockRange } from '../base/system-calls.js'
import type { Stamp, Stamps } from './stamps.js'

/** Everything that the file beside an image says. */
export interface StampDocument extends Stamp {
  /** RFC 3339: when the stamp with this id was first written. */
  readonly since: string
}

export interface StampFiles extends Stamps {
  read(image: string): Promise<StampDocument | null>
}

/** Where the stamp of an image is. */
export function stampPath(image: string): string {
  return `${image}.vmcache`
}

const FORMAT = '1'
/** A stamp has a few hundred bytes; more is something else. */
const MAXIMUM_STAMP_BYTES = 16384
/** The byte of the image that whoever changes the stamp locks: beyond every image, and beyond the bytes that QEMU locks. */
const LOCK_BYTE = 2 ** 52
const LOCK_PATIENCE_MILLISECONDS = 5000
const LOCK_RETRY_MILLISECONDS = 50

/** Failures that say that this storage carries no stamps: it may not be written, or it has no locks. */
const CARRIES_NONE: ReadonlySet<string | undefined> = new Set([
  'EROFS',
  'EACCES',
  'EPERM',
  'ENOLCK',
  'EOPNOTSUPP',
  'ENOSYS',
])

/**
 * Stamps as files. They are replaced at once and for good (a power cut leaves the old or the new one), under a lock on the image that
 * reaches every host that reaches the image; so of two hosts that find none, one gets LEASE_HELD. A foreign stamp is
 * never replaced: it is removed first, by somebody who knows that its host has let go.
 */
export function createStampFiles(clock: Clock): StampFiles {
  return {
    read: readStamp,
    async write(image, stamp) {
      try {
        await underLock(image, clock, async () => {
          const found = await readStamp(image)
          if (found !== null && (found.hostId !== stamp.hostId || found.epoch > stamp.epoch)) throw heldBy(image, found)
          const since = found?.id === stamp.id ? found.since : new Date(clock.now()).toISOString()
          await replaceFile(
            stampPath(image),
            formatStamp({ lacksWrites: found?.lacksWrites ?? false, ...stamp, since }),
          )
        })
        return true
      } catch (error) {
        if (CARRIES_NONE.has(systemCode(error))) return false
        throw stampError(image, 'written', error)
      }
    },
    async remove(image, id) {
      try {
        await underLock(image, clock, async () => {
          if ((await readStamp(image))?.id !== id) return
          await unlink(stampPath(image))
          await syncDirectory(stampPath(image))
        })
      } catch (error) {
        throw stampError(image, 'removed', error)
      }
    },
  }
}

async function readStamp(image: string): Promise<StampDocument | null> {
  const path = stampPath(image)
  // Whoever may write beside the image could put a FIFO or a link there.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW
  let handle: FileHandle
  try {
    handle = await open(path, flags)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return null
    throw code === 'ELOOP' ? badStamp(path, 'it is a symbolic link') : stampError(image, 'read', error)
  }
  try {
    const stats: Stats = await handle.stat()
    if (!stats.isFile() || stats.size > MAXIMUM_STAMP_BYTES) throw badStamp(path, 'it is no small file')
    return parseStamp(path, await handle.readFile('utf8'))
  } catch (error) {
    throw stampError(image, 'read', error)
  } finally {
    await handle.close()
  }
}

/** Runs `action` while no other host or engine changes the stamp of `image`. IN_USE where one does and does not stop. */
async function underLock(image: string, clock: Clock, action: () => Promise<void>): Promise<void> {
  const handle = await open(image, constants.O_RDWR | constants.O_NONBLOCK)
  try {
    const deadline = clock.monotonic() + LOCK_PATIENCE_MILLISECONDS
    while (!(await lockRange({ fd: handle.fd, path: image }, 'exclusive', LOCK_BYTE, 1))) {
      if (clock.monotonic() >= deadline) {
        throw new VmcacheError('IN_USE', `the stamp of ${image} is being changed by another engine`, {
          hint: 'try again; if it stays so, an engine hangs on a host that has the image open',
        })
      }
      await new Promise<void>((resolve) => clock.after(LOCK_RETRY_MILLISECONDS, resolve))
    }
    await action()
  } finally {
    await handle.close()
  }
}

async function replaceFile(path: string, text: string): Promise<void> {
  // The lock is ours: a file of this name is what an engine left that died here.
  const part = `${path}.new`
  await unlink(part).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw error
  })
  const handle = await open(part, 'wx', 0o644)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(part, path)
  await syncDirectory(path)
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  await handle.sync().finally(() => handle.close())
}

/** The fields of a stamp, in order: how each is written, and what it may look like. */
const FIELDS = {
  'vmcache-stamp': { write: () => FORMAT, pattern: /^\d+$/ },
  id: { write: ({ id }) => id, pattern: /^[\w-]{1,64}$/ },
  host: { write: ({ hostName }) => hostName, pattern: /^.{1,255}$/ },
  'host-id': { write: ({ hostId }) => hostId, pattern: /^[\w-]{1,64}$/ },
  disk: { write: ({ disk }) => disk, pattern: /^.{1,255}$/ },
  epoch: { write: ({ epoch }) => String(epoch), pattern: /^[1-9]\d{0,14}$/ },
  since: { write: ({ since }) => since, pattern: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ },
  'lacks-writes': { write: ({ lacksWrites }) => (lacksWrites ? 'yes' : 'no'), pattern: /^(yes|no)$/ },
} as const satisfies Record<string, { write: (stamp: StampDocument) => string; pattern: RegExp }>

type Field = keyof typeof FIELDS
const FIELD_NAMES = Object.keys(FIELDS) as Field[]

/** The text of a stamp: words for whoever finds the file, then `key: value` lines for programs (in sh: `grep '^lacks-writes: yes'`). */
export function formatStamp(stamp: StampDocument): string {
  const { hostName, disk, since, lacksWrites } = stamp
  const words = lacksWrites
    ? [
        'THE DISK IMAGE BESIDE THIS FILE IS NOT COMPLETE. Do not use, copy or write it.',
        `The cache of host ${hostName} may hold writes of disk ${disk} that the image lacks.`,
        'On that host this completes the image and ends the caching; this file goes away:',
        `    vmcache cache detach ${disk}`,
        'This completes it and goes on caching: it is complete as long as nothing writes:',
        `    vmcache disk flush ${disk}`,
        'Where no engine can run there any more, with the devices of the cache:',
        '    vmcache cache recover --device PATH...',
        'If that host and its cache are gone for good, those writes are lost with them. Only then, on the host that takes over:',
        '    vmcache lease take IMAGE --fenced --discard-dirty',
        'The image is then a disk as a power cut could have left it.',
      ]
    : [
        'The disk image beside this file is in use by vmcache. Do not write it by other means.',
        `Host ${hostName} has served it as disk ${disk} since ${since}.`,
        'All writes are in the image: a copy of it is as good as one of a disk in use.',
        'To end that, do this on that host, and this file goes away:',
        `    vmcache cache detach ${disk}`,
        'If that host is gone for good, do this on the host that takes over, or remove this file:',
        '    vmcache lease take IMAGE --fenced',
      ]
  return [
    ...words.map((line) => `# ${oneLine(line)}`),
    '',
    ...FIELD_NAMES.map((name) => `${name}: ${oneLine(FIELDS[name].write(stamp))}`),
    '',
  ].join('\n')
}

const oneLine = (text: string): string => text.replace(/\p{Cc}/gu, ' ')

/** Reads the text of the stamp at `path`; CORRUPT, naming the line, for anything that {@link formatStamp} does not write. Further keys are fine. */
export function parseStamp(path: string, text: string): StampDocument {
  const values = new Map<string, string>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const match = /^([a-z][a-z-]*): *(.*)$/.exec(line)
    if (match === null || values.has(match[1]!))
      throw badStamp(path, `line ${index + 1} is not expected: ${shorten(line)}`)
    values.set(match[1]!, match[2]!)
  }
  const valueOf = (name: Field): string => {
    const value = values.get(name)
    if (value === undefined) throw badStamp(path, `${name} is missing`)
    if (!FIELDS[name].pattern.test(value)) throw badStamp(path, `${name} is ${shorten(value)}`)
    return value
  }
  const format = valueOf('vmcache-stamp')
  if (format !== FORMAT) throw badStamp(path, `its format is ${format}, and ${FORMAT} is known here`)
  return {
    id: valueOf('id'),
    hostId: valueOf('host-id'),
    hostName: valueOf('host'),
    disk: valueOf('disk'),
    epoch: Number(valueOf('epoch')),
    since: valueOf('since'),
    lacksWrites: valueOf('lacks-writes') === 'yes',
  }
}

const shorten = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}...` : text)

function badStamp(path: string, problem: string): VmcacheError {
  return new VmcacheError('CORRUPT', `stamp ${path} cannot be understood: ${problem}`, {
    hint: 'find out which host uses the image; remove the file when you are sure that none does',
    details: { stamp: path },
  })
}

function heldBy(image: string, { hostName, disk, epoch }: StampDocument): VmcacheError {
  return new VmcacheError(
    'LEASE_HELD',
    `image ${image} is held by host ${hostName} as disk ${disk}: its stamp says so`,
    {
      hint: `detach it there: vmcache cache detach ${disk}; ${stampPath(image)} says what to do if that host is gone`,
      details: { host: hostName, disk, epoch },
    },
  )
}

function stampError(image: string, done: string, error: unknown): VmcacheError {
  if (error instanceof VmcacheError) return error
  return new VmcacheError('ORIGIN_FAILED', `stamp ${stampPath(image)} cannot be ${done}: ${messageOf(error)}`, {
    details: { stamp: stampPath(image) },
    cause: error,
  })
}

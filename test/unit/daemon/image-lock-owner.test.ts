import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { VmcacheError } from '../../../src/base/errors.js'
import { silentLogger } from '../../../src/base/logger.js'
import { imageLockList, imageLockListPath, parseImageLockList } from '../../../src/daemon/image-lock-list.js'
import { createImageLockOwner, type ImageLockOwner } from '../../../src/daemon/image-lock-owner.js'
import { manualClock, turn, type ManualClock } from '../../support/manual-clock.js'

let directory: string
let clock: ManualClock
/** Locks that are held, by whomever. */
let locked: Set<string>
/** Images that somebody else has, and images whose storage does not answer. */
let taken: Set<string>
let hanging: Set<string>
let owner: ImageLockOwner

/** A supervisor that starts. */
function supervisor(): ImageLockOwner {
  return createImageLockOwner({
    async acquire(path) {
      if (hanging.has(path)) return new Promise(() => undefined)
      if (taken.has(path) || locked.has(path)) throw new VmcacheError('IN_USE', `image ${path} is in use`)
      locked.add(path)
      return { release: async () => void locked.delete(path) }
    },
    list: imageLockList(directory),
    clock,
    logger: silentLogger,
  })
}

const list = () => parseImageLockList(readFileSync(imageLockListPath(directory), 'utf8'))

/** A power cut: locks go with the kernel. */
function reboot(): void {
  locked.clear()
  owner = supervisor()
}

/** Until the call ends; files are really written. */
async function settle(work: Promise<unknown>): Promise<void> {
  let isDone = false
  void work.finally(() => (isDone = true)).catch(() => undefined)
  while (!isDone) await turn()
  await work
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-locks-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  clock = manualClock()
  locked = new Set()
  taken = new Set()
  hanging = new Set()
  owner = supervisor()
})

test('a lock is listed on stable storage before it is taken, and comes back after a reboot', async () => {
  await owner.lock('/images/a web.img', 'web01/vda')
  await owner.lock('/dev/vg/db', 'db')
  reboot()
  expect(locked).toEqual(new Set())
  await owner.retake()
  expect(locked).toEqual(new Set(['/images/a web.img', '/dev/vg/db']))
  // The engine that comes up asks for them again: nothing changes.
  await owner.lock('/dev/vg/db', 'db')
  expect(list()).toEqual([
    { disk: 'web01/vda', path: '/images/a web.img' },
    { disk: 'db', path: '/dev/vg/db' },
  ])
})

test('a lock that was given back does not come back', async () => {
  await owner.lock('/images/web.img', 'web')
  await owner.lock('/images/db.img', 'db')
  await owner.unlock('/images/web.img')
  expect(locked).toEqual(new Set(['/images/db.img']))
  reboot()
  await owner.retake()
  expect(locked).toEqual(new Set(['/images/db.img']))
  await owner.unlock('/images/none.img')
})

test('a supervisor that ends lets go of all, and the next one takes them again', async () => {
  await owner.lock('/images/web.img', 'web')
  await owner.releaseAll()
  expect(locked).toEqual(new Set())
  owner = supervisor()
  await owner.retake()
  expect(locked).toEqual(new Set(['/images/web.img']))
})

test('what cannot be locked is refused, and not listed', async () => {
  taken.add('/images/web.img')
  await expect(owner.lock('/images/web.img', 'web')).rejects.toMatchObject({ code: 'IN_USE' })
  expect(list()).toEqual([])
  taken.clear()
  await clock.advance(10_000)
  expect(locked).toEqual(new Set())
  await owner.lock('/images/web.img', 'web')
  expect(list()).toHaveLength(1)
})

describe('after a reboot', () => {
  beforeEach(async () => {
    await owner.lock('/images/web.img', 'web')
    await owner.lock('/images/db.img', 'db')
  })

  test('an image that somebody has is locked as soon as it is free', async () => {
    taken.add('/images/web.img')
    reboot()
    await owner.retake()
    expect(locked).toEqual(new Set(['/images/db.img']))
    // The engine asks too and is refused: that takes nothing from the list.
    await expect(owner.lock('/images/web.img', 'web')).rejects.toMatchObject({ code: 'IN_USE' })
    expect(list()).toHaveLength(2)
    taken.clear()
    await clock.advance(1000)
    expect(locked).toContain('/images/web.img')
  })

  test('storage that hangs keeps nothing else waiting for long', async () => {
    hanging.add('/images/web.img')
    reboot()
    const retaken = owner.retake()
    while (clock.nextDelay === null) await turn()
    await clock.advance(5000)
    await settle(retaken)
    expect(locked).toEqual(new Set(['/images/db.img']))
  })

  test('one that is given back meanwhile is not tried any more', async () => {
    taken.add('/images/web.img')
    reboot()
    await owner.retake()
    await owner.unlock('/images/web.img')
    taken.clear()
    await clock.advance(10_000)
    expect(locked).toEqual(new Set(['/images/db.img']))
  })
})

test('a path that cannot be listed is refused', async () => {
  await expect(owner.lock('/images/a\nb.img', 'web')).rejects.toMatchObject({ code: 'BAD_NAME' })
  expect(locked).toEqual(new Set())
})

test('of a damaged list what can be read is locked', async () => {
  writeFileSync(imageLockListPath(directory), '# words\nweb\t/images/web.img\nnonsense\n\0\0\ndb\trelative\n')
  await owner.retake()
  expect(locked).toEqual(new Set(['/images/web.img']))
})

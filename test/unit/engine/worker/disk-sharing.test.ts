/** What the owner of a read-only disk does for the other threads, over real message ports, whose other ends are in the test's hand. */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { afterEach, expect, test } from 'vitest'
import type { Disk } from '../../../../src/engine/disk/disk.js'
import { DiskError } from '../../../../src/engine/disk/served-disk.js'
import type { IndexUpdate } from '../../../../src/engine/log/log-feed.js'
import { Calls } from '../../../../src/engine/worker/calls.js'
import { DiskSharing } from '../../../../src/engine/worker/disk-sharing.js'
import type { OwnerCalls, ReaderCalls, SharedDiskDescription } from '../../../../src/engine/worker/sharing-messages.js'
import { until } from '../../../support/processes.js'
import { TestLog, FIFO } from '../log/test-log.js'

const PAGE = 4096

/** The end of a thread that only notes what it is told. */
class Thread {
  readonly ownersPort: MessagePort
  readonly owner: Calls<OwnerCalls, ReaderCalls>
  readonly served: number[] = []
  readonly updates: IndexUpdate[] = []
  opened: SharedDiskDescription | undefined
  log: { cacheId: string; phase: number } | undefined
  #carryOut: (() => void)[] = []
  isSlow = false
  readonly #port: MessagePort

  constructor() {
    const { port1, port2 } = new MessageChannel()
    this.ownersPort = port1
    this.#port = port2
    this.owner = new Calls<OwnerCalls, ReaderCalls>(port2, {
      open: (disk) => void (this.opened = disk),
      beginLog: (log) => void (this.log = log),
      followLog: async (update) => {
        this.updates.push(update)
        if (this.isSlow) await new Promise<void>((resolve) => this.#carryOut.push(resolve))
      },
      serve: (descriptor) => void this.served.push(descriptor),
      close: () => undefined,
    })
  }

  carryOut(): void {
    this.isSlow = false
    for (const end of this.#carryOut.splice(0)) end()
  }

  close(): void {
    this.#port.close()
  }
}

let threads: Thread[] = []
afterEach(() => {
  for (const thread of threads) thread.close()
  threads = []
})

/** A disk of two further threads, whose log counts a hit as heat. */
async function shared(): Promise<{ sharing: DiskSharing; test: TestLog; disk: Disk }> {
  threads = [new Thread(), new Thread()]
  const test = await TestLog.create({ replacement: { ...FIFO, hit: (heat) => heat + 1 } })
  const disk = {
    name: 'base',
    sizeBytes: 2 ** 30,
    minimumBlockBytes: 512,
    preferredBlockBytes: PAGE,
    canTrim: true,
    canZero: false,
    log: test.log,
    tryRead: (offset: number, length: number, target: Buffer, at: number) => {
      target.fill(1, at, at + length)
      return offset === 0
    },
    read: async (offset: number, length: number, target: Buffer, at: number) => {
      if (offset === PAGE) throw new DiskError('EIO', 'it cannot be read')
      target.fill(2, at, at + length)
      return Promise.resolve()
    },
  } as unknown as Disk
  const sharing = new DiskSharing(
    threads.map(({ ownersPort }) => ownersPort),
    test.scheduler,
  )
  sharing.open(disk)
  sharing.follow(test.log, 'cache')
  return { sharing, test, disk }
}

test('threads are told of the disk and its log, then of its pages', async () => {
  const { sharing, test } = await shared()
  await test.fill(3, 9, 2)
  await sharing.settled()
  for (const { opened, log, updates } of threads) {
    expect(opened).toMatchObject({ name: 'base', sizeBytes: 2 ** 30, canTrim: true, canZero: false })
    expect(log).toEqual({ cacheId: 'cache', phase: 0 })
    const [update] = updates as [Extract<IndexUpdate, { kind: 'placed' }>]
    expect(update.runs.map(({ entries }) => [entries[0], entries[3]])).toEqual([[3, 4]])
  }
})

test('a connection goes where there are fewest, and to the owner first', async () => {
  const { sharing } = await shared()
  let own = 0
  const places: number[] = []
  for (let connection = 0; connection < 7; connection++) {
    const place = sharing.elsewhere(own)
    if (place === undefined) own++
    else place(connection)
    places.push(own)
  }
  await until('all connections', () => threads[0]!.served.length + threads[1]!.served.length === 4)
  expect(own).toBe(3)
  expect(threads.map(({ served }) => served.length)).toEqual([2, 2])
  await threads[1]!.owner.call('connectionEnded', null)
  sharing.elsewhere(own)!(7)
  await until('the next one', () => threads[1]!.served.includes(7))
})

test('what a thread misses is read for it; a failure keeps its errno', async () => {
  await shared()
  const { owner } = threads[0]!
  expect(Buffer.from(await owner.call('read', { offset: 0, length: 512 })).equals(Buffer.alloc(512, 1))).toBe(true)
  const slow = await owner.call('read', { offset: 512, length: PAGE })
  expect(Buffer.from(slow).equals(Buffer.alloc(PAGE, 2))).toBe(true)
  await expect(owner.call('read', { offset: PAGE, length: 512 })).rejects.toMatchObject({ details: { errno: 'EIO' } })
})

test('hits of another thread heat what is still there', async () => {
  const { test } = await shared()
  await test.fill(5, 1)
  await threads[0]!.owner.call('noteHits', Uint32Array.of(5, 77, 5, 5))
  const { columns } = test.log.chunks[0]!
  expect(columns.heat[test.log.table.find(5) % test.log.entriesPerChunk]).toBe(3)
})

test('D2 D3: forgetting, and the end of a log, wait for every thread', async () => {
  const { sharing, test } = await shared()
  await test.fill(3, 9)
  const [slow] = threads as [Thread, Thread]
  const ended: string[] = []
  slow.isSlow = true
  await test.mark('invalid', 0, 0xffff_ffff)
  const settled = sharing.settled().then(() => ended.push('settled'))
  await until('the news', () => threads.every(({ updates }) => updates.some(({ kind }) => kind === 'forgotten')))
  expect(ended).toEqual([])
  slow.carryOut()
  await settled

  slow.isSlow = true
  const end = sharing.endLog().then(() => ended.push('log'))
  await until('the news', () => threads.every(({ updates }) => updates.at(-1)?.kind === 'ended'))
  expect(ended).toEqual(['settled'])
  slow.carryOut()
  await end
  await test.fill(4, 9)
  expect(threads.map(({ updates }) => updates.at(-1)?.kind)).toEqual(['ended', 'ended'])
  await sharing.close()
})

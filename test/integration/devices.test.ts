/** `device add`, `remove` and `replace` on a real engine, beside guests that go on. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { CacheDocument } from '../../src/protocol/control/documents.js'
import { describeWith } from '../support/packages.js'
import { run, until } from '../support/processes.js'
import type { SimpleNbdClient } from '../support/simple-nbd-client.js'
import {
  KEPT_DIRTY,
  MIB,
  PAGE,
  findPages,
  makeImage,
  overwrite,
  pageOf,
  readPages,
  startHost,
  startNbdkit,
  testProcesses,
  writePages,
  type Host,
} from './promises/host.js'

const VMCACHE = join(import.meta.dirname, '..', '..', 'bin', 'vmcache')
const ROUNDS = 4

interface Result {
  readonly changed?: boolean
  readonly steps?: string[]
  readonly cache?: CacheDocument
  readonly error?: { readonly code: string; readonly message: string }
}

async function vmcache(host: Host, ...args: string[]): Promise<{ exit: number | null; document: Result }> {
  const env = { VMCACHE_USER: '1', VMCACHE_STATE_DIR: host.stateDir, VMCACHE_RUN_DIR: host.runDir }
  const { code, stdout } = await run(VMCACHE, [...args, '--json'], { env })
  return { exit: code, document: JSON.parse(stdout) as Result }
}

/** A host with cache `fast` on files of so many chunks of 1 MiB each. */
async function hostWith(...chunks: number[]): Promise<{ host: Host; paths: string[] }> {
  const host = await startHost({ configuration: 'io-threads: 2\n' })
  const paths = chunks.map((_, index) => join(host.directory, `ssd${index}.img`))
  await host.createCache(...paths.map((path, index) => ({ path, sizeBytes: (chunks[index]! + 1) * MIB })))
  return { host, paths }
}

/** Writes pages at random, remembers the last version of each, and reads some of them back, until it is told to end. */
function load(
  client: SimpleNbdClient,
  pages: number,
  flushEvery: number,
  before: readonly number[] = Array.from({ length: pages }, () => 0),
): { versions: number[]; end(): Promise<number> } {
  const versions = [...before]
  let isDone = false
  const writing = (async () => {
    let seed = 12_345
    for (let count = 1; ; count++) {
      if (isDone) return count
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
      const page = seed % pages
      await client.write(page * PAGE, pageOf(page, ++versions[page]!))
      const other = (seed >> 8) % pages
      const seen = await client.read(other * PAGE, PAGE)
      const expected = versions[other] === 0 ? Buffer.alloc(PAGE) : pageOf(other, versions[other]!)
      if (!seen.equals(expected)) throw new Error(`page ${other} is not version ${versions[other]}`)
      if (count % flushEvery === 0) await client.flush()
    }
  })()
  return {
    versions,
    async end() {
      isDone = true
      return writing
    },
  }
}

async function verify(client: SimpleNbdClient, versions: readonly number[]): Promise<void> {
  for (const [page, bytes] of (await readPages(client, versions.length)).entries()) {
    const expected = versions[page] === 0 ? Buffer.alloc(PAGE) : pageOf(page, versions[page]!)
    expect(bytes.equals(expected), `page ${page}`).toBe(true)
  }
}

test(
  'the room of a device that is added is used at once, and it is there after a restart',
  { timeout: 180_000 },
  async () => {
    const { host, paths } = await hostWith(16)
    const pages = 24 * 256
    await host.attach('web', await makeImage(join(host.directory, 'web.img'), pages * PAGE))
    const client = await host.connect('web')
    await writePages(client, pages, 1)
    expect((await host.disk('web')).cachedBytes).toBeLessThan(17 * MIB)

    const added = join(host.directory, 'more.img')
    const dry = await vmcache(host, 'device', 'add', 'fast', `${added},size=57m`, '--dry-run')
    expect(dry).toMatchObject({ exit: 0, document: { changed: true, dryRun: true } })
    await expect(stat(added)).rejects.toMatchObject({ code: 'ENOENT' })
    const add = await vmcache(host, 'device', 'add', 'fast', `${added},size=57m`)
    expect(add).toMatchObject({
      exit: 0,
      document: {
        changed: true,
        cache: { state: 'open', chunks: { total: 72 }, devices: [{ path: paths[0] }, { path: added, chunks: 56 }] },
      },
    })
    expect(await vmcache(host, 'device', 'add', 'fast', added)).toMatchObject({ exit: 0, document: { changed: false } })

    await writePages(client, pages, 2)
    expect((await host.disk('web')).cachedBytes).toBeGreaterThan(23 * MIB)
    const content = Array.from({ length: pages }, () => 2)
    await verify(client, content)
    await client.close()

    expect(await host.end()).toBe(0)
    const next = await startHost({ directory: host.directory })
    await until('a read index', async () => (await next.disk('web')).state === 'serving')
    expect((await next.cache()).devices).toMatchObject([{ state: 'ok' }, { path: added, state: 'ok' }])
    const again = await next.connect('web')
    await verify(again, content)
    expect((await next.stats('web')).originReads).toBe(0)
    await again.close()
  },
)

test('D5: a device is removed under writes in write-back: nothing is lost', { timeout: 400_000 }, async () => {
  const { host, paths } = await hostWith(16, 32)
  const pages = 20 * 256
  const images = await Promise.all(
    ['web', 'db'].map((name) => makeImage(join(host.directory, `${name}.img`), pages * PAGE)),
  )
  await host.attach('web', images[0]!, { mode: 'write-back', writeBack: KEPT_DIRTY })
  await host.attach('db', images[1]!)
  const [web, db] = [await host.connect('web'), await host.connect('db')]
  await writePages(db, pages, 1)
  const guest = load(web, pages, 50)
  await until('dirty data on both devices', async () => (await host.disk('web')).dirtyBytes > 6 * MIB, 240_000)

  const removed = await vmcache(host, 'device', 'remove', 'fast', paths[1]!)
  expect(removed).toMatchObject({
    exit: 0,
    document: { changed: true, cache: { state: 'open', chunks: { total: 16 }, devices: [{ path: paths[0] }] } },
  })
  expect((await readFile(paths[1]!)).subarray(0, 128 * 1024).every((byte) => byte === 0)).toBe(true)
  expect(await guest.end()).toBeGreaterThan(100)
  await verify(web, guest.versions)
  await verify(
    db,
    Array.from({ length: pages }, () => 1),
  )
  expect((await host.events()).map(({ what }) => what)).toContain('device.remove')
  await web.close()
  await db.close()

  // Nobody needs it any more: not for what is dirty, not to open the cache.
  await writeFile(paths[1]!, 'gone')
  await host.killEngine()
  const after = await host.connect('web')
  await verify(after, guest.versions)
  expect(await host.cache()).toMatchObject({ state: 'open', devices: [{ path: paths[0], state: 'ok' }] })
  await host.flush('web')
  const image = await readFile(images[0]!)
  for (const [page, version] of guest.versions.entries())
    if (version > 0)
      expect(image.subarray(page * PAGE, (page + 1) * PAGE).equals(pageOf(page, version)), `page ${page}`).toBe(true)
  await after.close()
})

test('a device is replaced: the old one is free, the new one has what was hot', { timeout: 180_000 }, async () => {
  const { host, paths } = await hostWith(24)
  const pages = 8 * 256
  await host.attach('web', await makeImage(join(host.directory, 'web.img'), pages * PAGE))
  const client = await host.connect('web')
  await writePages(client, pages, 1)
  for (let round = 0; round < 2; round++) await readPages(client, pages)
  const by = join(host.directory, 'new.img')
  const { document } = await vmcache(host, 'device', 'list')
  const [{ id }] = (document as unknown as { devices: [{ id: string }] }).devices
  expect(await vmcache(host, 'device', 'replace', 'fast', id, `${by},size=33m`)).toMatchObject({
    exit: 0,
    document: { changed: true, cache: { devices: [{ path: by }], chunks: { total: 32 } } },
  })
  const before = await host.stats('web')
  await verify(
    client,
    Array.from({ length: pages }, () => 1),
  )
  expect((await host.stats('web')).readHits - before.readHits).toBeGreaterThan((pages * 3) / 4)
  await client.close()
  expect(await vmcache(host, 'device', 'remove', 'fast', paths[0]!)).toMatchObject({ exit: 3 })
})

describeWith(['nbdkit'], 'S3: a removal that waits for an origin', () => {
  test('is a job that can be cancelled: the cache keeps the device', { timeout: 180_000 }, async () => {
    const { host, paths } = await hostWith(16, 16)
    const image = await makeImage(join(host.directory, 'web.img'), 8 * MIB)
    const origin = await startNbdkit(testProcesses(), join(host.directory, 'origin.sock'), 'file', image)
    await host.attach('web', origin.uri, { mode: 'write-back', writeBack: KEPT_DIRTY, exclusive: true })
    const client = await host.connect('web')
    // Hangs, with everything dirty.
    origin.process.kill('SIGSTOP')
    await writePages(client, 256, 1)
    expect((await host.disk('web')).dirtyBytes).toBeGreaterThan(0)
    const device = await deviceOf(host, paths)
    const job = await vmcache(host, 'device', 'remove', 'fast', device, '--no-wait')
    const { id } = job.document as unknown as { id: string }
    // What is written meanwhile goes elsewhere, and nobody waits.
    await writePages(client, 256, 2)
    expect(await host.client.get('job.show', { id, waitMilliseconds: 500 })).toMatchObject({ state: 'running' })
    expect(
      await vmcache(
        host,
        'device',
        'remove',
        'fast',
        paths.find((path) => path !== device)!,
      ),
    ).toMatchObject({
      exit: 4,
    })
    await vmcache(host, 'job', 'cancel', id)
    const ended = await host.client.get('job.show', { id, waitMilliseconds: 30_000 })
    expect(ended).toMatchObject({ state: 'cancelled', error: { code: 'INTERRUPTED' } })
    expect((await host.cache()).devices).toMatchObject([{ state: 'ok' }, { state: 'ok' }])

    // The device is used again, and can be removed when the origin is back.
    origin.process.kill('SIGCONT')
    expect(await vmcache(host, 'device', 'remove', 'fast', device)).toMatchObject({ exit: 0 })
    await verify(
      client,
      Array.from({ length: 256 }, () => 2),
    )
    await client.close()
  })
})

/** The device of the cache that has something of its disks. */
async function deviceOf(host: Host, paths: readonly string[]): Promise<string> {
  for (const path of paths) if (findPages(path, [pageOf(17, 1)]).length > 0) return path
  throw new Error(`nothing of the disk is on ${paths.join(', ')} of ${host.directory}`)
}

test('what cannot become a device, or go, is refused before anything changes', { timeout: 120_000 }, async () => {
  const { host, paths } = await hostWith(16)
  const file = (name: string): string => join(host.directory, name)
  await writeFile(file('ext4.img'), Buffer.alloc(16 * MIB))
  overwrite(file('ext4.img'), 1080, Buffer.from([0x53, 0xef]))
  await writeFile(file('small.img'), Buffer.alloc(MIB))
  await writeFile(file('empty.img'), Buffer.alloc(16 * MIB))
  const other = [{ path: file('other.img'), sizeBytes: 17 * MIB }]
  const request = {
    name: 'other',
    devices: other,
    blockSizeBytes: PAGE,
    chunkSizeBytes: MIB,
    force: false,
    dryRun: false,
  }
  await host.client.post('cache.create', request, { waitMilliseconds: 30_000 })
  const image = await makeImage(file('web.img'), 8 * MIB)
  await host.attach('web', image, { minBytes: 12 * MIB })

  const refused: [string[], number, string][] = [
    [['add', 'slow', file('empty.img')], 3, 'CACHE_NOT_FOUND'],
    [['add', 'fast', file('none.img')], 3, 'DEVICE_NOT_FOUND'],
    [['add', 'fast', file('ext4.img')], 7, 'DEVICE_NOT_EMPTY'],
    [['add', 'fast', file('small.img')], 5, 'NO_SPACE'],
    [['add', 'fast', file('other.img')], 4, 'IN_USE'],
    [['add', 'fast', file('other.img'), '--force'], 4, 'IN_USE'],
    [['add', 'fast', image, '--force'], 4, 'IN_USE'],
    [['add', 'fast', `${file('empty.img')},size=1t`], 7, 'REFUSED'],
    [['remove', 'fast', paths[0]!], 7, 'REFUSED'],
    [['remove', 'fast', file('other.img')], 3, 'DEVICE_NOT_FOUND'],
    [['remove', 'slow', paths[0]!], 3, 'CACHE_NOT_FOUND'],
    [['replace', 'fast', file('other.img'), file('empty.img')], 3, 'DEVICE_NOT_FOUND'],
    [['replace', 'fast', paths[0]!, file('ext4.img')], 7, 'DEVICE_NOT_EMPTY'],
  ]
  for (const [args, exit, code] of refused) {
    expect(await vmcache(host, 'device', ...args), args.join(' ')).toMatchObject({
      exit,
      document: { error: { code } },
    })
    expect((await host.cache()).devices, args.join(' ')).toHaveLength(1)
  }
  // The rest would not hold what is promised.
  expect(await vmcache(host, 'device', 'add', 'fast', `${file('empty.img')},size=5m`)).toMatchObject({ exit: 0 })
  expect(await vmcache(host, 'device', 'remove', 'fast', paths[0]!)).toMatchObject({
    exit: 5,
    document: { error: { code: 'NO_SPACE' } },
  })
  expect(await vmcache(host, 'device', 'remove', 'fast', file('empty.img'))).toMatchObject({ exit: 0 })
  expect(await vmcache(host, 'device', 'add', 'fast', file('ext4.img'), '--force')).toMatchObject({ exit: 0 })
})

test(
  'D1: an engine that dies while a device is removed: the cache opens, and no write is lost',
  { timeout: 180_000 },
  async () => {
    const { host, paths } = await hostWith(16, 16)
    const pages = 16 * 256
    await host.attach('web', await makeImage(join(host.directory, 'web.img'), pages * PAGE), {
      mode: 'write-back',
      writeBack: KEPT_DIRTY,
    })
    let versions: readonly number[] = Array.from({ length: pages }, () => 0)
    for (const [round, delay] of [5, 40, 150].entries()) {
      const client = await host.connect('web')
      const guest = load(client, pages, 20, versions)
      await until('dirty data', async () => (await host.disk('web')).dirtyBytes > 2 * MIB, 60_000)
      await guest.end()
      versions = [...guest.versions]
      const device = paths[round % 2]!
      const removing = vmcache(host, 'device', 'remove', 'fast', device, '--no-wait')
      await new Promise((resolve) => setTimeout(resolve, delay + 300))
      await host.killEngine()
      await removing.catch(() => undefined)
      const again = await host.connect('web')
      await verify(again, versions)
      await again.close()
      const { state, devices } = await host.cache()
      expect(state).toBe('open')
      // Where it was removed in time it comes back for the next round.
      if (devices.length === 1)
        expect(await vmcache(host, 'device', 'add', 'fast', device, '--force')).toMatchObject({ exit: 0 })
    }
  },
)

test('D5: devices come and go again and again under three guests', { timeout: 300_000 }, async () => {
  const { host, paths } = await hostWith(30, 30)
  const pages = 16 * 256
  const disks = [
    { name: 'eager', mode: 'write-back' },
    { name: 'lazy', mode: 'write-back', writeBack: KEPT_DIRTY },
    { name: 'through', mode: 'write-through' },
  ] as const
  const guests = await Promise.all(
    disks.map(async ({ name, ...settings }) => {
      await host.attach(name, await makeImage(join(host.directory, `${name}.img`), pages * PAGE), settings)
      const client = await host.connect(name)
      return { client, load: load(client, pages, name === 'lazy' ? 500 : 20) }
    }),
  )
  for (let round = 0; round < ROUNDS; round++) {
    const device = paths[round % 2]!
    expect(await vmcache(host, 'device', 'remove', 'fast', device), `round ${round}`).toMatchObject({ exit: 0 })
    expect(await vmcache(host, 'device', 'add', 'fast', device, '--force'), `round ${round}`).toMatchObject({ exit: 0 })
  }
  for (const { load } of guests) expect(await load.end()).toBeGreaterThan(100)
  for (const { client, load } of guests) await verify(client, load.versions)
  await host.killEngine()
  for (const [index, { load, client }] of guests.entries()) {
    await client.close().catch(() => undefined)
    const again = await host.connect(disks[index]!.name)
    await verify(again, load.versions)
    await again.close()
  }
})

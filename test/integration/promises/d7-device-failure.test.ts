/** D7: a cache device that fails or vanishes costs its disks their cache, and nothing else. */
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { attachLoopDevice, whyNoLoopDevices } from '../../support/block-devices.js'
import { describeUnless } from '../../support/conditions.js'
import { missing } from '../../support/packages.js'
import { must, run, until } from '../../support/processes.js'
import type { SimpleNbdClient } from '../../support/simple-nbd-client.js'
import {
  MIB,
  KEPT_DIRTY,
  PAGE,
  findPages,
  makeImage,
  overwrite,
  pageOf,
  pagesOf,
  readPages,
  startHost,
  temporaryDirectory,
  type Host,
} from './host.js'

const why = missing(['fio', 'qemu-img']) ?? (await whyNoLoopDevices())

/** A block device of 128 MiB that takes no more writes from `fail` on, and has lost what it had: as a disk that was pulled. */
async function breakableDevice(): Promise<{ path: string; fail(): Promise<void> }> {
  const storage = join(await temporaryDirectory(), 'storage')
  await mkdir(storage)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', storage])
  onTestFinished(() => void execFileSync('umount', ['--lazy', storage]))
  const file = join(storage, 'disk')
  await writeFile(file, Buffer.alloc(128 * MIB))
  const loop = await attachLoopDevice(file)
  onTestFinished(() => loop.detach())
  return {
    path: loop.path,
    async fail() {
      await truncate(file, 0)
      await expect(writeFile(join(storage, 'filler'), Buffer.alloc(192 * MIB))).rejects.toMatchObject({
        code: 'ENOSPC',
      })
    },
  }
}

/** Writes 64 pages of `version` and reads them back. */
async function exercise(client: SimpleNbdClient, version: number): Promise<void> {
  await client.write(0, pagesOf(0, 64, version))
  await client.flush()
  const pages = await readPages(client, 64)
  for (const [page, bytes] of pages.entries()) expect(bytes.equals(pageOf(page, version)), `page ${page}`).toBe(true)
}

const isDirect = (host: Host, disk: string) => async () => (await host.disk(disk)).state === 'direct'
const MEND = 'vmcache engine restart'

describeUnless(why, 'D7: a device that fails under load', () => {
  test('costs no client an I/O error, and every disk on it leaves it at once', { timeout: 120_000 }, async () => {
    const host = await startHost({ configuration: 'io-threads: 2\n' })
    const device = await breakableDevice()
    await host.createCache({ path: device.path, sizeBytes: null })
    const names = ['busy', 'written', 'idle']
    for (const name of names) await host.attach(name, await makeImage(join(host.directory, `${name}.img`), 32 * MIB))
    const idle = await host.connect('idle')
    await exercise(idle, 1)

    const { uri } = await host.disk('busy')
    const fio = run(
      'fio',
      [
        '--name=load',
        '--ioengine=nbd',
        `--uri=${uri}`,
        '--rw=randrw',
        '--bs=4k',
        '--iodepth=8',
        '--size=32m',
        '--io_size=512m',
        '--runtime=8',
        '--time_based',
        '--verify=crc32c',
        '--verify_backlog=64',
        '--verify_fatal=1',
        '--verify_state_save=0',
        '--fsync=64',
      ],
      { timeoutMilliseconds: 60_000 },
    )
    const written = (await host.disk('written')).socket
    const commands = Array.from({ length: 400 }, (_, index) => `write -q -P ${(index % 255) + 1} ${index * 16}k 16k`)
    const options = ['--image-opts', `driver=nbd,server.type=unix,server.path=${written}`]
    const qemuIo = run('qemu-io', [...options, ...commands.flatMap((command) => ['-c', command])])
    await until('a filled cache', async () => (await host.disk('busy')).cachedBytes > 4 * MIB)
    await device.fail()
    for (const name of names) await until(`${name} without its log`, isDirect(host, name))

    expect(await qemuIo).toMatchObject({ code: 0, stderr: '' })
    const outcome = await fio
    expect(outcome.code, outcome.stderr + outcome.stdout).toBe(0)
    expect(outcome.stdout).toMatch(/err= 0/)
    expect(outcome.stderr).toBe('')
    await must('qemu-io', [
      ...options,
      ...Array.from({ length: 400 }, (_, index) => ['-c', `read -q -P ${(index % 255) + 1} ${index * 16}k 16k`]).flat(),
    ])
    // The idle disk is still the same connection, and its pages are those that it wrote.
    for (const [page, bytes] of (await readPages(idle, 64)).entries()) expect(bytes.equals(pageOf(page, 1))).toBe(true)
    await exercise(idle, 2)

    expect(await host.cache()).toMatchObject({ state: 'failed', devices: [{ state: 'failed' }] })
    expect((await host.cache()).devices[0]!.errors).toBeGreaterThan(0)
    const attention = await host.attention()
    expect(attention.map(({ object, state }) => [object, state])).toEqual([
      ['cache fast', 'failed'],
      ...[...names].sort().map((name) => [`disk ${name}`, 'direct']),
    ])
    for (const { mend } of attention) expect(mend).toContain(MEND)
    const { checks } = await host.client.get('doctor.run', {})
    expect(checks.find(({ id }) => id === 'device')).toMatchObject({
      state: 'failure',
      mend: expect.stringContaining(MEND),
    })
    const events = await host.events()
    expect(events.filter(({ what }) => what === 'device.failed')).toHaveLength(1)
    expect(
      events
        .filter(({ what }) => what === 'lease.raise')
        .map(({ disk }) => disk)
        .sort(),
    ).toEqual([...names].sort())
  })
})

describe('D7: a device that is not there when the engine starts', () => {
  test(
    'leaves its disks served from their origins; when it is back they are cached again, and nothing is stale',
    {
      timeout: 120_000,
    },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'web.img'), 16 * MIB)
      await host.attach('web', image)
      const first = await host.connect('web')
      await exercise(first, 1)
      await first.close()
      expect(await host.end()).toBe(0)

      await rename(host.deviceFile, `${host.deviceFile}.away`)
      const second = await startHost({ directory: host.directory })
      expect(await second.disk('web')).toMatchObject({ state: 'direct', reason: expect.stringContaining('ssd.img') })
      const client = await second.connect('web')
      // What the cache never hears of.
      await exercise(client, 2)

      await rename(`${host.deviceFile}.away`, host.deviceFile)
      await second.client.post(
        'cache.import',
        { devices: [host.deviceFile], missing: false, dryRun: false },
        { waitMilliseconds: 20_000 },
      )
      await until('a new log', async () => (await second.disk('web')).state === 'serving')
      // The client never lost its connection.
      for (const [page, bytes] of (await readPages(client, 64)).entries())
        expect(bytes.equals(pageOf(page, 2))).toBe(true)
      const before = await second.stats('web')
      await readPages(client, 64)
      expect((await second.stats('web')).readHits - before.readHits).toBe(64)
      await client.close()

      // Nor does the engine after it find what was there before.
      await second.killEngine()
      const last = await second.connect('web')
      for (const [page, bytes] of (await readPages(last, 64)).entries())
        expect(bytes.equals(pageOf(page, 2))).toBe(true)
      expect(await second.disk('web')).toMatchObject({ state: 'serving' })
      await last.close()
    },
  )

  test.each(['write-through', 'write-back'] as const)(
    'and is there for the engine after that: what it holds of a disk that went on without it is dropped (%s)',
    { timeout: 120_000 },
    async (mode) => {
      const host = await startHost()
      await host.createCache()
      await host.attach('web', await makeImage(join(host.directory, 'web.img'), 16 * MIB), { mode })
      const first = await host.connect('web')
      await exercise(first, 1)
      await first.close()
      await host.flush('web')
      expect(await host.end()).toBe(0)

      await rename(host.deviceFile, `${host.deviceFile}.away`)
      const second = await startHost({ directory: host.directory })
      const client = await second.connect('web')
      await exercise(client, 2)
      await client.close()
      // By its own account the origin is as this engine left it: only the epoch tells that the log has missed something.
      expect(await second.end()).toBe(0)

      await rename(`${host.deviceFile}.away`, host.deviceFile)
      const third = await startHost({ directory: host.directory })
      expect(await third.disk('web')).toMatchObject({ state: 'serving', cachedBytes: 0 })
      const last = await third.connect('web')
      for (const [page, bytes] of (await readPages(last, 64)).entries())
        expect(bytes.equals(pageOf(page, 2)), `page ${page}`).toBe(true)
      await last.close()
    },
  )

  test('and a superblock that is ruined is named, with what looks at it', async () => {
    const host = await startHost()
    await host.createCache()
    const image = await makeImage(join(host.directory, 'web.img'), 16 * MIB)
    await host.attach('web', image)
    expect(await host.end()).toBe(0)
    for (const at of [0, 64 * 1024]) overwrite(host.deviceFile, at + 200, Buffer.alloc(16, 0xff))
    const next = await startHost({ directory: host.directory })
    expect(await next.attention()).toMatchObject([
      { object: 'cache fast', state: 'failed', mend: `vmcache cache check ${host.deviceFile}` },
      { object: 'disk web', state: 'direct' },
    ])
    await exercise(await next.connect('web'), 1)
  })

  test(
    'of two may be gone without, by command: what was cached is dropped, and is not believed when it is back',
    {
      timeout: 120_000,
    },
    async () => {
      const host = await startHost()
      const devices = ['a', 'b'].map((name) => ({ path: join(host.directory, name), sizeBytes: 32 * MIB }))
      await host.createCache(...devices)
      await host.attach('web', await makeImage(join(host.directory, 'web.img'), 16 * MIB))
      const first = await host.connect('web')
      // More than one device holds.
      for (let page = 0; page < 4096; page += 16) await first.write(page * PAGE, pagesOf(page, 16, 1))
      for (let page = 0; page < 4096; page += 16) await first.write(page * PAGE, pagesOf(page, 16, 2))
      await first.close()
      expect(await host.end()).toBe(0)

      const [kept, lost] = devices.map(({ path }) => path) as [string, string]
      await rename(lost, `${lost}.away`)
      const second = await startHost({ directory: host.directory })
      const [trouble] = await second.attention()
      expect(trouble!.mend).toContain(`vmcache cache import --allow-missing --device ${kept}`)
      const { result } = await second.client.post(
        'cache.import',
        { devices: [kept], missing: true, dryRun: false },
        { waitMilliseconds: 20_000 },
      )
      expect(result).toMatchObject({ changed: true, coldDisks: ['web'], cache: { state: 'degraded' } })
      expect(result!.cache!.devices).toMatchObject([{ state: 'ok' }, { path: lost, state: 'missing' }])
      expect(await second.disk('web')).toMatchObject({ state: 'serving', cachedBytes: 0 })
      const client = await second.connect('web')
      await exercise(client, 3)
      await client.close()
      expect(await second.end()).toBe(0)

      await rename(`${lost}.away`, lost)
      const third = await startHost({ directory: host.directory })
      expect(await third.cache()).toMatchObject({ state: 'open' })
      const last = await third.connect('web')
      const pages = await readPages(last, 128)
      for (const [page, bytes] of pages.entries())
        expect(bytes.equals(pageOf(page, page < 64 ? 3 : 2)), `page ${page}`).toBe(true)
      await last.close()
    },
  )

  test('of two may be gone without where the state database is lost, too', { timeout: 120_000 }, async () => {
    const host = await startHost()
    const devices = ['a', 'b'].map((name) => ({ path: join(host.directory, name), sizeBytes: 32 * MIB }))
    await host.createCache(...devices)
    await host.attach('web', await makeImage(join(host.directory, 'web.img'), 16 * MIB))
    const first = await host.connect('web')
    for (const version of [1, 2])
      for (let page = 4080; page >= 0; page -= 16) await first.write(page * PAGE, pagesOf(page, 16, version))
    await first.close()
    expect(await host.end()).toBe(0)
    for (const name of await readdir(host.stateDir))
      if (name.startsWith('state.db')) await rm(join(host.stateDir, name))

    // Whichever device is newer: each may hold what the other log never hears of.
    const paths = devices.map(({ path }) => path)
    let directory = host.directory
    for (const [round, kept] of paths.entries()) {
      const lost = paths[1 - round]!
      await rename(lost, `${lost}.away`)
      const engine = await startHost({ directory })
      const request = { devices: [kept], missing: true, dryRun: false }
      await engine.client.post('cache.import', request, { waitMilliseconds: 20_000 })
      await until('a disk', async () => (await engine.disk('web')).state === 'serving')
      const client = await engine.connect('web')
      await exercise(client, 3 + round)
      await client.close()
      expect(await engine.end()).toBe(0)
      await rename(`${lost}.away`, lost)
      directory = engine.directory
    }
    const last = await startHost({ directory })
    await last.client.post(
      'cache.import',
      { devices: paths, missing: false, dryRun: false },
      { waitMilliseconds: 20_000 },
    )
    await until('a disk', async () => (await last.disk('web')).state === 'serving')
    const client = await last.connect('web')
    const pages = await readPages(client, 128)
    for (const [page, bytes] of pages.entries())
      expect(bytes.equals(pageOf(page, page < 64 ? 4 : 2)), `page ${page}`).toBe(true)
    await client.close()
  })
})

/** Ends when the disk is in this state, and its document. */
const inState = (host: Host, name: string, state: string) =>
  until(`${name} ${state}`, async () => {
    const disk = await host.disk(name)
    return disk.state === state ? disk : null
  })

describeUnless(why, 'D7: a device that fails under disks in write-back', () => {
  test(
    'stops the one whose origin lacks writes, with errors, and costs the clean one only its cache',
    { timeout: 120_000 },
    async () => {
      const host = await startHost()
      const device = await breakableDevice()
      await host.createCache({ path: device.path, sizeBytes: null })
      const images = { dirty: join(host.directory, 'dirty.img'), clean: join(host.directory, 'clean.img') }
      for (const [name, image] of Object.entries(images))
        await host.attach(name, await makeImage(image, 16 * MIB), { mode: 'write-back', writeBack: KEPT_DIRTY })
      const [dirty, clean] = [await host.connect('dirty'), await host.connect('clean')]
      await exercise(clean, 1)
      await host.flush('clean')
      await exercise(dirty, 1)
      await device.fail()
      await expect(dirty.write(0, pagesOf(0, 64, 2)).then(() => dirty.flush())).rejects.toMatchObject({ errno: 5 })
      await inState(host, 'dirty', 'failed')
      // Nobody is told an older state.
      await expect(dirty.read(0, PAGE)).rejects.toMatchObject({ errno: 5 })
      expect((await host.disk('dirty')).reason).toMatch(/origin lacks/)
      expect(findPages(images.dirty, [pageOf(0, 1), pageOf(0, 2)])).toEqual([])
      await exercise(clean, 2)
      await inState(host, 'clean', 'direct')
      expect(findPages(images.clean, [pageOf(0, 2), pageOf(63, 2)])).toEqual([0, 63 * PAGE])
      for (const { mend } of await host.attention()) expect(mend).not.toBe('')
      for (const force of [false, true]) {
        await expect(host.detach('dirty', { force })).rejects.toMatchObject({
          code: expect.stringMatching(/DIRTY|FAILED/),
        })
      }
    },
  )
})

describe('D7: a device that vanishes with dirty data', () => {
  test(
    'makes its disk wait, whatever is insisted on; when it is back, so is all that was written',
    { timeout: 120_000 },
    async () => {
      const host = await startHost()
      await host.createCache()
      const image = await makeImage(join(host.directory, 'web.img'), 16 * MIB)
      await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
      const client = await host.connect('web')
      await exercise(client, 1)
      await client.close()
      const pid = host.enginePid()
      await host.end('SIGKILL')
      process.kill(pid, 'SIGKILL')
      await rename(host.deviceFile, `${host.deviceFile}.away`)

      const second = await startHost({ directory: host.directory })
      expect(await second.disk('web')).toMatchObject({
        state: expect.stringMatching(/waiting|failed/),
        reason: expect.stringContaining('ssd.img'),
      })
      await expect(second.detach('web', { force: true })).rejects.toMatchObject({
        code: expect.stringContaining('DIRTY'),
      })
      expect((await second.client.get('engine.status', {})).safeToReboot.now).toBe(false)
      await rename(`${host.deviceFile}.away`, host.deviceFile)
      const request = { devices: [host.deviceFile], missing: false, dryRun: false }
      await second.client.post('cache.import', request, { waitMilliseconds: 20_000 })
      await inState(second, 'web', 'serving')
      const reader = await second.connect('web')
      for (const [page, bytes] of (await readPages(reader, 64)).entries())
        expect(bytes.equals(pageOf(page, 1)), `page ${page}`).toBe(true)
      await reader.close()
      await second.detach('web')
    },
  )
})

describeUnless(why, 'D7: a device that has failed', () => {
  test(
    'is replaced while its disks are served from their origins; then they are cached again',
    { timeout: 120_000 },
    async () => {
      const host = await startHost()
      const device = await breakableDevice()
      await host.createCache({ path: device.path, sizeBytes: null })
      await host.attach('web', await makeImage(join(host.directory, 'web.img'), 32 * MIB))
      const client = await host.connect('web')
      await exercise(client, 1)
      await device.fail()
      await exercise(client, 2)
      await until('a disk without its log', isDirect(host, 'web'))

      const by = { path: join(host.directory, 'new.img'), sizeBytes: 65 * MIB }
      const request = { cache: 'fast', device: device.path, by, force: false, dryRun: false }
      const { result } = await host.client.post('device.replace', request, { waitMilliseconds: 30_000 })
      expect(result!.cache).toMatchObject({ state: 'open', devices: [{ path: by.path, state: 'ok' }] })
      await until('a disk with a log', async () => (await host.disk('web')).state === 'serving', 60_000)
      await exercise(client, 3)
      expect((await host.disk('web')).cachedBytes).toBeGreaterThan(0)
      await client.close()

      // Nobody asks for the old one any more.
      expect(await host.end()).toBe(0)
      const next = await startHost({ directory: host.directory })
      expect(await next.cache()).toMatchObject({ state: 'open', devices: [{ path: by.path }] })
      const again = await next.connect('web')
      for (const [page, bytes] of (await readPages(again, 64)).entries())
        expect(bytes.equals(pageOf(page, 3)), `page ${page}`).toBe(true)
      await again.close()
    },
  )

  test('stays a part of the cache while it may have what only it has (D5)', { timeout: 120_000 }, async () => {
    const host = await startHost()
    const device = await breakableDevice()
    await host.createCache({ path: device.path, sizeBytes: null })
    const image = await makeImage(join(host.directory, 'web.img'), 32 * MIB)
    await host.attach('web', image, { mode: 'write-back', writeBack: KEPT_DIRTY })
    const client = await host.connect('web')
    await exercise(client, 1)
    await device.fail()
    await client.write(0, pagesOf(0, 64, 2)).catch(() => undefined)
    await until('a disk that failed', async () => (await host.disk('web')).state === 'failed')
    const by = { path: join(host.directory, 'new.img'), sizeBytes: 65 * MIB }
    const request = { cache: 'fast', device: device.path, by, force: false, dryRun: false }
    await expect(host.client.post('device.replace', request, { waitMilliseconds: 30_000 })).rejects.toMatchObject({
      code: 'DIRTY_DATA',
      exit: 7,
    })
    const { devices } = await host.cache()
    expect(devices.map(({ path }) => path)).toContain(device.path)
    await client.close().catch(() => undefined)
  })
})

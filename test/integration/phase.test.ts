/**
 * A guest whose file system begins at sector 63 of a disk without a partition table: what it costs on the cache's own grid, and on
 * the one that its first requests ask for. The file system is a real one, made by mkfs.ext4; the client asks as a guest's page cache does.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.js'
import { SeededRandom } from '../../src/base/random.js'
import type { Disk } from '../../src/engine/disk/disk.js'
import { openFileDevice } from '../../src/engine/device/file-device.js'
import { openFileOrigin } from '../../src/engine/origin/file-origin.js'
import type { DiskDocument } from '../../src/protocol/control/documents.js'
import { startCachedDisk } from '../support/cached-disk.js'
import { DiskOnDevice } from '../support/disk-on-device.js'
import { findProgram } from '../support/programs.js'
import { connectSimpleNbd } from '../support/simple-nbd-client.js'

const run = promisify(execFile)
const PAGE = 4096
const CHUNK_BYTES = 256 * 1024
const IMAGE_BYTES = 32 * 1024 * 1024
const CACHE_BYTES = 6 * 1024 * 1024
const START = 63 * 512

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-phase-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

interface Price {
  /** Written to the cache's device, for each byte that the guest asked for. */
  readonly deviceBytesPerByte: number
  readonly hitRatio: number
  readonly originReadBytes: number
}

/** An ext4 file system with some megabytes of files in it. */
async function makeImage(mkfs: string): Promise<Buffer> {
  const random = new SeededRandom(1)
  const files = join(directory, 'files')
  await mkdir(files)
  for (let file = 0; file < 160; file++) {
    const content = Buffer.alloc(1024 * (1 + random.below(128)))
    for (let at = 0; at < content.length; at += 4) content.writeUInt32LE(1 + random.below(2 ** 32 - 1), at)
    await writeFile(join(files, `file-${file}`), content)
  }
  const path = join(directory, 'file-system')
  await writeFile(path, '')
  await truncate(path, IMAGE_BYTES)
  await run(mkfs, ['-q', '-F', '-b', `${PAGE}`, '-d', files, path])
  return readFile(path)
}

/** Pages of the file system that are not all zeroes, as runs that one request can write, in no order. */
function runsOf(image: Buffer, random: SeededRandom): { page: number; count: number }[] {
  const zeroes = Buffer.alloc(PAGE)
  const runs: { page: number; count: number }[] = []
  for (let page = 0; page < image.length / PAGE; page++) {
    if (image.compare(zeroes, 0, PAGE, page * PAGE, (page + 1) * PAGE) === 0) continue
    const last = runs.at(-1)
    if (last !== undefined && last.page + last.count === page && last.count < 4) last.count++
    else runs.push({ page, count: 1 })
  }
  for (let index = runs.length - 1; index > 0; index--) {
    const other = random.below(index + 1)
    ;[runs[index], runs[other]] = [runs[other]!, runs[index]!]
  }
  return runs
}

/** Installs the file system through the disk, then uses it: reads and rewrites pages of it, some of them often. Says what the use cost. */
async function useDisk(opened: DiskOnDevice, image: Buffer): Promise<Price> {
  const { disk, meter } = opened
  const random = new SeededRandom(2)
  const runs = runsOf(image, random)
  const part = (page: number, count: number): Buffer => image.subarray(page * PAGE, (page + count) * PAGE)
  for (const { page, count } of runs) await disk.write(START + page * PAGE, part(page, count), false)
  await disk.flush()
  const before = { ...opened, written: meter.deviceWrittenBytes }
  let asked = 0
  for (let request = 0; request < 6000; request++) {
    const { page, count } = runs[Math.floor(runs.length * (random.below(1e6) / 1e6) ** 3)]!
    const from = random.below(count)
    const pages = 1 + random.below(count - from)
    asked += pages * PAGE
    if (random.below(4) === 0) await disk.write(START + (page + from) * PAGE, part(page + from, pages), false)
    else await readAndCompare(disk, START + (page + from) * PAGE, part(page + from, pages))
    if (request % 200 === 0) await disk.flush()
    // A guest on a disk that keeps up: no fill is given up for want of room.
    await disk.log?.appended()
    await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    deviceBytesPerByte: (meter.deviceWrittenBytes - before.written) / asked,
    hitRatio: (opened.readHits - before.readHits) / (opened.reads - before.reads),
    originReadBytes: opened.originReadBytes - before.originReadBytes,
  }
}

async function readAndCompare(disk: Disk, offset: number, expected: Buffer): Promise<void> {
  const data = Buffer.alloc(expected.length)
  if (!disk.tryRead(offset, data.length, data, 0)) await disk.read(offset, data.length, data, 0)
  expect(data.equals(expected)).toBe(true)
}

async function priceOf(
  image: Buffer,
  name: string,
  recovered: boolean,
): Promise<Price & { phases: readonly number[] }> {
  const device = join(directory, `${name}-device`)
  const disk = join(directory, `${name}-disk`)
  await writeFile(device, Buffer.alloc(CACHE_BYTES))
  await writeFile(disk, '')
  await truncate(disk, START + IMAGE_BYTES)
  const opened = await DiskOnDevice.open({
    origin: await openFileOrigin(disk, { readOnly: false }),
    device: await openFileDevice(device),
    chunkBytes: CHUNK_BYTES,
    clock: systemClock,
    defer: setImmediate,
    recovered,
  })
  const price = await useDisk(opened, image)
  await opened.disk.close({ keepLog: true })
  await opened.options.origin.close(1000)
  await opened.options.device.close()
  await checkFileSystem(disk)
  return { ...price, phases: opened.phases }
}

async function checkFileSystem(disk: string): Promise<void> {
  const fsck = findProgram('e2fsck')
  if (fsck === null) return
  const path = join(directory, 'checked')
  await writeFile(path, (await readFile(disk)).subarray(START))
  await run(fsck, ['-f', '-n', path])
}

test(
  'a misaligned file system costs less once its traffic has told the phase',
  { timeout: 120_000 },
  async ({ skip }) => {
    const mkfs = findProgram('mkfs.ext4')
    if (mkfs === null) return skip('no mkfs.ext4')
    const image = await makeImage(mkfs)
    const fixed = await priceOf(image, 'fixed', true)
    const found = await priceOf(image, 'found', false)
    expect(fixed.phases).toEqual([0])
    expect(found.phases).toEqual([0, 1])
    expect(found.hitRatio).toBeGreaterThan(fixed.hitRatio + 0.03)
    expect(found.deviceBytesPerByte).toBeLessThan(0.9 * fixed.deviceBytesPerByte)
    expect(found.originReadBytes).toBeLessThan(0.9 * fixed.originReadBytes)
  },
)

test(
  'an engine finds the phase of a disk by what a client asks for, says so, and keeps it when it is killed or restarted',
  { timeout: 120_000 },
  async () => {
    const served = await startCachedDisk({
      origin: async (directory) => {
        const path = join(directory, 'blank.img')
        await writeFile(path, '')
        await truncate(path, IMAGE_BYTES)
        return path
      },
    })
    try {
      const phase = async (): Promise<DiskDocument['phase']> =>
        (await served.cli.ask<DiskDocument>('disk', 'show', 'disk')).phase
      expect(await phase()).toEqual({ sectors: 0, source: 'none' })
      const page = (index: number): Buffer => Buffer.alloc(PAGE, 1 + (index % 250))
      const at = (index: number): number => START + 2 * index * PAGE
      const client = await connectSimpleNbd(served.socket, 'disk')
      for (let index = 0; index < 1100; index++) await client.write(at(index), page(index))
      await client.flush()
      expect(await phase()).toEqual({ sectors: 1, source: 'traffic' })
      await client.close()
      for (const interrupt of [served.killEngine, served.restart]) {
        await interrupt()
        expect(await phase()).toEqual({ sectors: 1, source: 'log' })
        const again = await connectSimpleNbd(served.socket, 'disk')
        for (let index = 0; index < 1100; index += 50) expect(await again.read(at(index), PAGE)).toEqual(page(index))
        await again.close()
      }
    } finally {
      await served.stop()
    }
  },
)

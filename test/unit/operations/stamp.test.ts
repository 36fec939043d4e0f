import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { chmod, mkdir, open, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { lockRange } from '../../../src/base/system-calls.js'
import {
  createStampFiles,
  formatStamp,
  parseStamp,
  stampPath,
  type StampDocument,
} from '../../../src/operations/stamp.js'
import { testUnless, whyNoMounts, whyRoot } from '../../support/conditions.js'

const stamp = {
  id: '0123456789abcdef0123456789abcdef',
  hostId: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  hostName: 'kvm07',
  disk: 'web01/vda',
  epoch: 7,
}
const foreign = { ...stamp, id: 'f'.repeat(32), hostId: 'b'.repeat(32), hostName: 'kvm08' }
const document: StampDocument = { ...stamp, since: '2026-11-20T10:00:00.000Z', lacksWrites: false }

let directory: string
let image: string
let now: number
const stamps = createStampFiles({ ...systemClock, now: () => now })

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-stamp-'))
  image = join(directory, 'web01.raw')
  await writeFile(image, Buffer.alloc(4096))
  now = Date.parse(document.since)
})

afterEach(() => rmSync(directory, { recursive: true }))

describe('stamp files', () => {
  it('are written beside the image, read back, and removed', async () => {
    expect(await stamps.read(image)).toBeNull()
    expect(await stamps.write(image, stamp)).toBe(true)
    expect(await stamps.read(image)).toEqual(document)
    expect(await readdir(directory)).toEqual(['web01.raw', 'web01.raw.vmcache'])
    await stamps.remove(image, stamp.id)
    expect(await readdir(directory)).toEqual(['web01.raw'])
    await stamps.remove(image, stamp.id)
  })

  it('say in plain words who holds the image and what to do, and sh understands them', async () => {
    await stamps.write(image, stamp)
    const text = await readFile(stampPath(image), 'utf8')
    expect(text).toContain('Host kvm07 has served it as disk web01/vda since 2026-11-20T10:00:00.000Z.')
    expect(text).toContain('vmcache cache detach web01/vda')
    const lacksWrites = (): string =>
      execFileSync('sh', ['-c', `grep -q '^lacks-writes: yes' "$1" && echo yes || echo no`, 'sh', stampPath(image)], {
        encoding: 'utf8',
      }).trim()
    expect(lacksWrites()).toBe('no')
    await stamps.write(image, { ...stamp, lacksWrites: true })
    expect(await readFile(stampPath(image), 'utf8')).toContain('IS NOT COMPLETE')
    expect(lacksWrites()).toBe('yes')
  })

  it('keep the time of their first writing until they are another', async () => {
    await stamps.write(image, stamp)
    now += 60_000
    await stamps.write(image, { ...stamp, epoch: 8 })
    expect(await stamps.read(image)).toEqual({ ...document, epoch: 8 })
    await stamps.write(image, { ...stamp, id: 'c'.repeat(32), epoch: 9 })
    expect((await stamps.read(image))?.since).toBe('2026-11-20T10:01:00.000Z')
  })

  it('D10: one of another host is never replaced, nor one of a higher epoch', async () => {
    await stamps.write(image, foreign)
    await expect(stamps.write(image, stamp)).rejects.toMatchObject({
      code: 'LEASE_HELD',
      message: `image ${image} is held by host kvm08 as disk web01/vda: its stamp says so`,
    })
    await stamps.remove(image, stamp.id)
    expect(await stamps.read(image)).toMatchObject(foreign)
    await stamps.remove(image, foreign.id)
    await stamps.write(image, { ...stamp, epoch: 9 })
    await expect(stamps.write(image, stamp)).rejects.toMatchObject({ code: 'LEASE_HELD' })
  })

  it('D10: of two hosts that find none, one gets it', async () => {
    for (let round = 0; round < 20; round++) {
      const outcomes = await Promise.allSettled([stamps.write(image, stamp), stamps.write(image, foreign)])
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
      const winner = (await stamps.read(image))!
      await stamps.remove(image, winner.id)
    }
  })

  it('wait for another engine that changes it, but not for ever', async () => {
    const handle = await open(image, 'r+')
    await lockRange({ fd: handle.fd, path: image }, 'exclusive', 2 ** 52, 1)
    const writing = stamps.write(image, stamp)
    await handle.close()
    expect(await writing).toBe(true)

    const hanging = await open(image, 'r+')
    await lockRange({ fd: hanging.fd, path: image }, 'exclusive', 2 ** 52, 1)
    let elapsed = 0
    const impatient = createStampFiles({
      ...systemClock,
      monotonic: () => (elapsed += 1000),
    })
    await expect(impatient.write(image, stamp)).rejects.toMatchObject({ code: 'IN_USE' })
    await hanging.close()
  })

  it('take the place of what an engine left that died while it wrote', async () => {
    await writeFile(`${stampPath(image)}.new`, 'half a st')
    expect(await stamps.write(image, stamp)).toBe(true)
    expect(await readdir(directory)).toEqual(['web01.raw', 'web01.raw.vmcache'])
  })

  testUnless(whyNoMounts(), 'cannot be carried on a read-only file system, which is no failure', async () => {
    const mountPoint = join(directory, 'mount')
    await mkdir(mountPoint)
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mountPoint])
    try {
      const path = join(mountPoint, 'disk.raw')
      await writeFile(path, Buffer.alloc(4096))
      execFileSync('mount', ['-o', 'remount,ro', mountPoint])
      expect(await stamps.write(path, stamp)).toBe(false)
      expect(await stamps.read(path)).toBeNull()
    } finally {
      execFileSync('umount', [mountPoint])
    }
  })

  testUnless(whyRoot, 'cannot be carried in a directory of somebody else, which is no failure', async () => {
    await chmod(directory, 0o500)
    expect(await stamps.write(image, stamp)).toBe(false)
    await chmod(directory, 0o700)
  })

  it('fail where the image is gone', async () => {
    await rm(image)
    await expect(stamps.write(image, stamp)).rejects.toMatchObject({ code: 'ORIGIN_FAILED' })
    expect(existsSync(stampPath(image))).toBe(false)
  })

  it('S5: what is there instead of a stamp is named, left alone, and never waited for', async () => {
    const path = stampPath(image)
    const target = join(directory, 'target')
    await writeFile(target, formatStamp(document))
    const intruders: (() => Promise<unknown>)[] = [
      () => mkdir(path),
      async () => execFileSync('mkfifo', [path]),
      () => symlink(target, path),
      () => writeFile(path, Buffer.alloc(1024 * 1024)),
      () => writeFile(path, 'something else\n'),
    ]
    for (const intrude of intruders) {
      await intrude()
      const { ino } = await stat(path)
      await expect(stamps.read(image)).rejects.toMatchObject({
        code: 'CORRUPT',
        message: expect.stringContaining(path),
      })
      await expect(stamps.write(image, stamp)).rejects.toMatchObject({ code: 'CORRUPT' })
      expect((await stat(path)).ino).toBe(ino)
      await rm(path, { recursive: true })
    }
  })
})

describe('parseStamp', () => {
  const text = formatStamp(document)
  const parse = (changed: string): unknown => parseStamp('/x.vmcache', changed)

  it('reads what formatStamp writes', () => {
    expect(parse(text)).toEqual(document)
    expect(parse(formatStamp({ ...document, lacksWrites: true }))).toEqual({ ...document, lacksWrites: true })
    expect(parse(`${text.replaceAll('\n', '\r\n')}further-key: value\n`)).toEqual(document)
  })

  it.each([
    ['', /vmcache-stamp is missing/],
    [text.replace(/^epoch.*$/m, ''), /epoch is missing/],
    [text.replace(/^epoch.*$/m, 'epoch: -1'), /epoch is "-1"/],
    [text.replace(/^epoch.*$/m, 'epoch: 99999999999999999999'), /epoch is "99999999999999999999"/],
    [text.replace(/^lacks-writes.*$/m, 'lacks-writes: maybe'), /lacks-writes is "maybe"/],
    [text.replace(/^since.*$/m, 'since: yesterday'), /since is "yesterday"/],
    [text.replace('vmcache-stamp: 1', 'vmcache-stamp: 2'), /its format is 2, and 1 is known here/],
    [`${text}epoch: 8\n`, /is not expected: "epoch: 8"/],
    [`${text}<html>\n`, /line \d+ is not expected: "<html>"/],
  ])('says what is wrong: %#', (changed, problem) => {
    expect(() => parse(changed)).toThrow(
      expect.objectContaining({ code: 'CORRUPT', message: expect.stringMatching(problem) }),
    )
  })

  it('S5: never throws anything else, cut anywhere or full of noise', () => {
    const attempt = (changed: string): void => {
      try {
        parse(changed)
      } catch (error) {
        expect(error).toMatchObject({ code: 'CORRUPT' })
      }
    }
    for (let end = 0; end <= text.length; end++) attempt(text.slice(0, end))
    fc.assert(
      fc.property(fc.string(), fc.nat(text.length), (noise, at) => attempt(text.slice(0, at) + noise + text.slice(at))),
    )
  })

  it('keeps a host name from forging a line', () => {
    const forged = formatStamp({ ...document, hostName: 'a\nepoch: 99' })
    expect(parse(forged)).toMatchObject({ hostName: 'a epoch: 99', epoch: 7 })
  })
})

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { chmod, mkdir, open, truncate, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { canonicalOrigin, openOrigin } from '../../../../src/engine/origin/open-origin.js'
import { MAXIMUM_DISK_BYTES } from '../../../../src/model/geometry.js'
import { testUnless, whyRoot } from '../../../support/conditions.js'
import { pathOf, testWith } from '../../../support/packages.js'
import { must } from '../../../support/processes.js'

let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-origin-'))
  path = join(directory, 'disk.raw')
})

afterEach(() => rmSync(directory, { recursive: true }))

const openAndClose = async (text: string, readOnly = true): Promise<void> => {
  await (await openOrigin(text, { readOnly })).close(1000)
}

describe('openOrigin', () => {
  it('makes paths absolute', async () => {
    await writeFile(path, Buffer.alloc(4096))
    const origin = await openOrigin(relative(process.cwd(), path), { readOnly: false })
    expect(origin.description).toEqual({
      kind: 'file',
      uri: path,
      sizeBytes: 4096,
      logicalBlockBytes: 512,
      readOnly: false,
      canTrim: true,
      canZero: true,
    })
    await origin.close(1000)
  })

  it('says what is missing', async () => {
    await expect(openAndClose(path)).rejects.toMatchObject({
      code: 'ORIGIN_NOT_FOUND',
      message: `cannot open origin ${path}: it does not exist`,
    })
  })

  testUnless(whyRoot, 'says what is forbidden', async () => {
    await writeFile(path, Buffer.alloc(4096))
    await chmod(path, 0)
    await expect(openAndClose(path)).rejects.toMatchObject({ code: 'DENIED' })
  })

  it('refuses what is no disk, and never waits for it', async () => {
    await mkdir(join(directory, 'directory'))
    execFileSync('mkfifo', [join(directory, 'fifo')])
    const server = createServer().listen(join(directory, 'socket'))
    await once(server, 'listening')
    for (const [name, seen] of [
      ['directory', 'a directory'],
      ['fifo', 'a FIFO'],
      ['socket', 'a socket'],
    ] as const) {
      await expect(openAndClose(join(directory, name))).rejects.toMatchObject({
        code: 'REFUSED',
        message: expect.stringContaining(`it is ${seen}`),
      })
    }
    await expect(openAndClose('/dev/null')).rejects.toMatchObject({ code: 'REFUSED' })
    server.close()
  })

  it('refuses sizes that no disk has', async () => {
    await writeFile(path, '')
    await expect(openAndClose(path)).rejects.toMatchObject({ code: 'ORIGIN_SIZE' })
    await truncate(path, 1000)
    await expect(openAndClose(path)).rejects.toMatchObject({
      code: 'ORIGIN_SIZE',
      message: `origin ${path} has 1000 bytes: a disk is a positive multiple of 512 bytes`,
    })
  })

  it('refuses a disk that is too large for the index', async () => {
    await writeFile(path, '')
    try {
      await truncate(path, MAXIMUM_DISK_BYTES + 512)
    } catch {
      return // The file system has no files of that size, sparse or not.
    }
    await expect(openAndClose(path)).rejects.toMatchObject({ code: 'ORIGIN_SIZE' })
  })

  it.each([
    ['qcow2', 0, 'QFI\xfb'],
    ['vmdk', 0, 'KDMV'],
    ['vmdk', 0, '# Disk DescriptorFile'],
    ['vhdx', 0, 'vhdxfile'],
    ['vdi', 64, '\x7f\x10\xda\xbe'],
    ['qed', 0, 'QED\0'],
    ['vpc', 0, 'conectix'],
  ])('refuses a %s image, and says how it can be attached', async (format, offset, magic) => {
    const bytes = Buffer.alloc(4096)
    bytes.write(magic, offset, 'latin1')
    await writeFile(path, bytes)
    await expect(openAndClose(path)).rejects.toMatchObject({
      code: 'REFUSED',
      message: `cannot use origin ${path}: it is a ${format} image, not a raw disk`,
      hint: expect.stringContaining(`qemu-nbd -t -f ${format}`),
    })
    const origin = await openOrigin(path, { readOnly: true, imageFormatAllowed: true })
    await origin.close(1000)
  })

  testWith(['qemu-img'], 'knows the images that QEMU makes', async () => {
    for (const format of ['qcow2', 'vmdk', 'vhdx', 'vdi', 'vpc', 'qed', 'parallels']) {
      const image = join(directory, `image.${format}`)
      await must(pathOf('qemu-img'), ['create', '-q', '-f', format, image, '1M'])
      const handle = await open(image, 'r+')
      const { size } = await handle.stat()
      // Some end within a sector; what matters here is how they begin.
      await handle.truncate(Math.ceil(size / 512) * 512)
      await handle.close()
      await expect(openAndClose(image)).rejects.toMatchObject({ code: 'REFUSED', details: { format } })
    }
  })

  it('opens what begins with anything else', async () => {
    await writeFile(path, Buffer.from('QFI ordinary bytes'.padEnd(512)))
    await openAndClose(path)
  })
})

describe('canonicalOrigin', () => {
  it('refuses what is neither a path nor an NBD URI', () => {
    for (const text of ['', 'http://host/disk', 'rbd://pool/image', 'file:///disk', 'a\0b']) {
      expect(() => canonicalOrigin(text)).toThrow(expect.objectContaining({ code: 'BAD_URI' }))
    }
  })

  it('keeps paths that only look strange', () => {
    expect(canonicalOrigin('/images/a:b.raw')).toBe('/images/a:b.raw')
    expect(canonicalOrigin('/images/../disks//x.raw')).toBe('/disks/x.raw')
  })
})

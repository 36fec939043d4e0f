/** The NBD server with the clients that people use: QEMU's tools, libnbd's, fio. */
import { randomBytes } from 'node:crypto'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { MemoryDisk } from '../support/memory-disk.js'
import { NbdServing } from '../support/nbd-serving.js'
import { describeWith } from '../support/packages.js'
import { must, run, until } from '../support/processes.js'

const MIB = 1024 * 1024
const serving = new NbdServing()
afterEach(() => serving.closeAll())

const file = async (name: string): Promise<string> => join(await serving.directory(), name)

describeWith(['qemu-img'], 'QEMU', () => {
  test('qemu-img info', async () => {
    const { uri } = await serving.serve(new MemoryDisk({ sizeBytes: 3 * MIB }))
    const info = JSON.parse(await must('qemu-img', ['info', '--output=json', uri])) as Record<string, unknown>
    expect(info).toMatchObject({ format: 'raw', 'virtual-size': 3 * MIB })
  })

  test('qemu-img convert from the disk and onto it, and compare', async () => {
    const disk = new MemoryDisk({ sizeBytes: 8 * MIB })
    await disk.write(MIB, randomBytes(2 * MIB), false)
    const { uri } = await serving.serve(disk)
    const image = await file('image.raw')
    await must('qemu-img', ['convert', '-O', 'raw', uri, image])
    expect((await readFile(image)).equals(disk.bytes)).toBe(true)
    // The hole was seen as one: base:allocation travelled.
    expect((await stat(image)).blocks * 512).toBeLessThan(4 * MIB)
    await must('qemu-img', ['compare', uri, image])

    const copy = new MemoryDisk({ sizeBytes: 8 * MIB }).fill()
    const target = await serving.serve(copy)
    await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image, target.uri])
    expect(copy.bytes.equals(disk.bytes)).toBe(true)
    expect(copy.calls.at(-1)?.kind).toBe('flush')
    await must('qemu-img', ['compare', uri, target.uri])
  })

  test('qemu-img convert with many misses at once', async () => {
    const disk = new MemoryDisk({ sizeBytes: 8 * MIB }).fill()
    disk.hits = false
    disk.hook = () => new Promise((resolve) => setTimeout(resolve, 1))
    const { uri } = await serving.serve(disk)
    const image = await file('image.raw')
    await must('qemu-img', ['convert', '-m', '16', '-W', '-O', 'raw', uri, image])
    expect((await readFile(image)).equals(disk.bytes)).toBe(true)
  })

  test('qemu-io patterns, zeroes, discards', async () => {
    const disk = new MemoryDisk({ sizeBytes: 4 * MIB })
    const { uri } = await serving.serve(disk)
    const commands = [
      'write -P 0xaa 0 64k',
      'write -P 0xbb 61k 5k',
      'write -f -P 0xcc 1M 1M',
      'write -z 512k 4k',
      'write -z -u 1024k 64k',
      'discard 2M 1M',
      'aio_write -P 1 3M 4k',
      'aio_write -P 2 3076k 4k',
      'aio_flush',
      'flush',
      'read -P 0xaa 0 61k',
      'read -P 0xbb 61k 5k',
      'read -P 0 1M 64k',
      'read -P 0xcc 1088k 960k',
      'read -P 1 3M 4k',
      'read -P 2 3076k 4k',
    ]
    const output = await must('qemu-io', ['-f', 'raw', ...commands.flatMap((command) => ['-c', command]), uri])
    expect(output).not.toMatch(/fail/i)
    expect(disk.calls.map(({ kind }) => kind)).toContain('trim')
    expect(disk.calls.map(({ kind }) => kind)).toContain('zero')
    expect(disk.calls.some(({ kind, fua }) => kind === 'write' && fua)).toBe(true)
  })
})

describeWith(['nbdinfo'], 'nbdinfo', () => {
  test('shows what the disk is and can', async () => {
    const { socket } = await serving.serve(new MemoryDisk({ name: 'web01/vda' }))
    const uri = `nbd+unix:///web01/vda?socket=${socket}`
    const document = JSON.parse(await must('nbdinfo', ['--json', uri])) as { exports: Record<string, unknown>[] }
    expect(document).toMatchObject({ protocol: 'newstyle-fixed', structured: true })
    expect(document.exports[0]).toMatchObject({
      'export-name': 'web01/vda',
      contexts: ['base:allocation'],
      is_read_only: false,
      can_cache: true,
      can_df: true,
      can_fast_zero: true,
      can_flush: true,
      can_fua: true,
      can_multi_conn: true,
      can_trim: true,
      can_zero: true,
      block_size_minimum: 512,
      block_size_maximum: 32 * MIB,
    })
  })

  test('--map shows holes, --list shows names', async () => {
    const disk = new MemoryDisk({ name: 'web01/vda' })
    await disk.write(65536, Buffer.alloc(65536), false)
    const { uri } = await serving.serve(disk)
    const map = JSON.parse(await must('nbdinfo', ['--map', '--json', uri])) as Record<string, unknown>[]
    expect(map).toMatchObject([
      { offset: 0, length: 65536, type: 3 },
      { offset: 65536, length: 65536, type: 0 },
      { offset: 131072, length: MIB - 131072, type: 3 },
    ])
    expect(await must('nbdinfo', ['--list', uri])).toContain('web01/vda')
  })

  test('an unknown export is an error in words', async () => {
    const { socket } = await serving.serve(new MemoryDisk())
    const outcome = await run('nbdinfo', [`nbd+unix:///nobody?socket=${socket}`])
    expect(outcome.code).not.toBe(0)
    expect(outcome.stderr).toContain('nobody')
  })
})

describeWith(['nbdcopy'], 'nbdcopy', () => {
  test('copies both ways, over several connections', async () => {
    const disk = new MemoryDisk({ sizeBytes: 64 * MIB })
    await disk.write(8 * MIB, randomBytes(32 * MIB), false)
    const from = await serving.serve(disk)
    const copy = new MemoryDisk({ sizeBytes: 64 * MIB }).fill()
    const to = await serving.serve(copy)
    await must('nbdcopy', ['--connections=4', '--threads=4', '--flush', from.uri, to.uri])
    expect(copy.bytes.equals(disk.bytes)).toBe(true)
    const image = await file('image.raw')
    await must('nbdcopy', [to.uri, image])
    expect((await readFile(image)).equals(disk.bytes)).toBe(true)
  })
})

describeWith(['fio'], 'fio', () => {
  const job = async (lines: readonly string[]): Promise<string> => {
    const path = await file('job.fio')
    await writeFile(path, lines.join('\n'))
    return path
  }

  test('writes and verifies, several jobs on several connections at once', async () => {
    const disk = new MemoryDisk({ sizeBytes: 64 * MIB })
    const { uri } = await serving.serve(disk)
    const jobs = [0, 1, 2].flatMap((index) => [`[job${index}]`, `offset=${index * 16}m`])
    const path = await job([
      '[global]',
      'ioengine=nbd',
      `uri=${uri}`,
      'rw=randrw',
      'size=16m',
      'bsrange=512-128k',
      'iodepth=16',
      'verify=crc32c',
      'verify_fatal=1',
      'fsync=64',
      ...jobs,
    ])
    await must('fio', [path])
    expect(disk.calls.map(({ kind }) => kind)).toContain('flush')
  })

  test('a client that does not read holds little memory, and holds up nobody', async () => {
    const disk = new MemoryDisk({ sizeBytes: 16 * MIB }).fill()
    const { socket, uri } = await serving.serve(disk)
    const before = process.memoryUsage().arrayBuffers
    for (let count = 0; count < 4; count++) {
      const lazy = await serving.connect(socket)
      await lazy.negotiate()
      lazy.socket.pause()
      for (let cookie = 0; cookie < 2000; cookie++) lazy.request({ command: 0, cookie, length: MIB })
    }
    const path = await job([
      '[j]',
      'ioengine=nbd',
      `uri=${uri}`,
      'rw=randread',
      'bs=4k',
      'iodepth=8',
      'size=16m',
      'time_based',
      'runtime=1',
    ])
    const result = await must('fio', ['--output-format=json', path])
    const { jobs } = JSON.parse(result.slice(result.indexOf('{'))) as { jobs: { read: { iops: number } }[] }
    expect(jobs[0]!.read.iops).toBeGreaterThan(1000)
    // 32 MiB for each, and a little for buffers of other sizes.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 40 * MIB)
  })

  test('a server that is replaced under load: no request is lost where the client reconnects', async () => {
    // fio does not reconnect; QEMU does, as a client that waits for the server to come back.
    const disk = new MemoryDisk({ sizeBytes: 16 * MIB })
    disk.hook = () => new Promise((resolve) => setTimeout(resolve, 1))
    const { socket, server } = await serving.serve(disk)
    const options = `driver=nbd,server.type=unix,server.path=${socket},reconnect-delay=20`
    const commands = Array.from({ length: 2000 }, (_, index) => [
      '-c',
      `write -q -P ${(index % 255) + 1} ${index * 8}k 8k`,
    ])
    const load = run('qemu-io', ['--image-opts', ...commands.flat(), options])
    let current = server
    for (let count = 0; count < 3; count++) {
      const before = disk.calls.length
      await until('writes', () => disk.calls.length > before + 100)
      await serving.close(current)
      await rm(socket, { force: true })
      current = (await serving.serve(disk, { socket })).server
    }
    const outcome = await load
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
    for (let index = 0; index < 2000; index++) {
      const found = disk.bytes.subarray(index * 8192, (index + 1) * 8192)
      expect(found.equals(Buffer.alloc(8192, (index % 255) + 1)), `write ${index}`).toBe(true)
    }
  })
})

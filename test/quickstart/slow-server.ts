/** A slow NBD server of our own, where nbdkit is not installed: `slow-server.js IMAGE SOCKET MILLISECONDS`. */
import { open, type FileHandle } from 'node:fs/promises'
import { listenUnix } from '../../src/base/system-calls.js'
import type { ServedDisk } from '../../src/engine/disk/served-disk.js'
import { singleExport } from '../../src/engine/nbd/export-table.js'
import { NbdServer } from '../../src/engine/nbd/nbd-server.js'

const [image, socket, milliseconds] = process.argv.slice(2)
const file = await open(image!, 'r+')
const disk = slowDisk(file, (await file.stat()).size, Number(milliseconds))
new NbdServer({ listenDescriptor: listenUnix(socket!, { backlog: 16 }), exports: singleExport(disk) }).start()

/** An image file that answers each request later than it could. */
function slowDisk(file: FileHandle, sizeBytes: number, delayMilliseconds: number): ServedDisk {
  const delay = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMilliseconds))
  const write = async (offset: number, data: Buffer): Promise<void> => {
    await delay()
    await file.write(data, 0, data.length, offset)
  }
  return {
    name: 'slow',
    sizeBytes,
    readOnly: false,
    minimumBlockBytes: 512,
    preferredBlockBytes: 4096,
    canTrim: false,
    canZero: false,
    tryRead: () => false,
    tryWrite: () => false,
    async read(offset, length, target, at) {
      await delay()
      await file.read(target, at, length, offset)
    },
    async write(offset, data, fua) {
      await write(offset, data)
      if (fua) await file.datasync()
    },
    flush: () => file.datasync(),
    trim: async () => {},
    zero: (offset, length) => write(offset, Buffer.alloc(length)),
    prefetch: async () => {},
    allocation: async (_offset, length) => [{ length, hole: false, zero: false }],
  }
}

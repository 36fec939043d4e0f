import { readFile, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemCode } from '../../base/errors.js'

/** What the kernel says of a block device, or of the whole device that a partition lies on. */
export interface BlockQueue {
  readonly sizeBytes: number
  readonly logicalBlockBytes: number
  /** Rises with every device that appears: a device that came back has another one. Null before Linux 5.15. */
  readonly diskSequence: number | null
}

/** Unit of `size` in sysfs, whatever the device's logical block. */
const SYSFS_SECTOR_BYTES = 512

/** Looks a device number (`st_rdev` of a device, `st_dev` of a file) up in sysfs; null where it is no block device. */
export async function blockQueueOf(deviceNumber: number): Promise<BlockQueue | null> {
  try {
    const own = await realpath(`/sys/dev/block/${majorOf(deviceNumber)}:${minorOf(deviceNumber)}`)
    const whole = (await readNumber(join(own, 'partition'))) === null ? own : dirname(own)
    const sectors = await readNumber(join(own, 'size'))
    const logicalBlockBytes = await readNumber(join(whole, 'queue', 'logical_block_size'))
    if (sectors === null || logicalBlockBytes === null) return null
    return {
      sizeBytes: sectors * SYSFS_SECTOR_BYTES,
      logicalBlockBytes,
      diskSequence: await readNumber(join(whole, 'diskseq')),
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  }
}

async function readNumber(path: string): Promise<number | null> {
  try {
    return Number.parseInt(await readFile(path, 'latin1'), 10)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  }
}

/** Linux packs 12 bits of major number between the two parts of the minor number (makedev(3)). */
function majorOf(deviceNumber: number): number {
  return Math.floor(deviceNumber / 2 ** 8) & 0xfff
}

function minorOf(deviceNumber: number): number {
  return (deviceNumber & 0xff) | (Math.floor(deviceNumber / 2 ** 12) & 0xfff00)
}

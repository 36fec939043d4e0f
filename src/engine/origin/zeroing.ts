import { fallocate, FALLOCATE, isUnsupported, type OpenFile } from '../../base/system-calls.js'
import { OriginError } from './origin.js'

/** Zeroes and trims of a file or block device, by what its storage can do; what it turns out not to know is not tried again. */
export interface Zeroing {
  zero(offset: number, length: number, options: { mayTrim: boolean; fast: boolean }): Promise<void>
  trim(offset: number, length: number): Promise<void>
}

const PUNCH_HOLE = FALLOCATE.punchHole | FALLOCATE.keepSize
const ZERO_RANGE = FALLOCATE.zeroRange | FALLOCATE.keepSize

const ZEROES_BYTES = 1024 * 1024
let zeroes: Uint8Array | undefined

/**
 * `zeroRangeIsFast`: false for block devices, where the kernel itself writes zeroes if the device cannot; a punched hole
 * never does.
 */
export function createZeroing(
  file: OpenFile,
  write: (offset: number, bytes: Uint8Array) => Promise<void>,
  zeroRangeIsFast: boolean,
): Zeroing {
  const unknown = new Set<number>()

  async function tryMode(mode: number, offset: number, length: number): Promise<boolean> {
    if (unknown.has(mode)) return false
    try {
      await fallocate(file, mode, offset, length)
      return true
    } catch (error) {
      if (!isUnsupported(error)) throw error
      unknown.add(mode)
      return false
    }
  }

  return {
    async zero(offset, length, { mayTrim, fast }) {
      if (mayTrim && (await tryMode(PUNCH_HOLE, offset, length))) return
      if ((zeroRangeIsFast || !fast) && (await tryMode(ZERO_RANGE, offset, length))) return
      if (fast) throw new OriginError(`origin ${file.path}: has no fast way to write zeroes`, 'ENOTSUP')
      zeroes ??= new Uint8Array(ZEROES_BYTES)
      for (let done = 0; done < length; done += ZEROES_BYTES) {
        await write(offset + done, zeroes.subarray(0, Math.min(ZEROES_BYTES, length - done)))
      }
    },
    async trim(offset, length) {
      await tryMode(PUNCH_HOLE, offset, length)
    },
  }
}

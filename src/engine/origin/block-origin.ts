import { constants } from 'node:fs'
import { createDirectIo } from '../device/direct-io.js'
import { createDescriptorOrigin } from './descriptor-origin.js'
import { openOriginFile, type OpenOriginOptions } from './open-origin-file.js'
import type { Origin } from './origin.js'
import { createZeroing } from './zeroing.js'

/** Unaligned requests that use bounce buffers at a time; the limit of an origin's calls is about the same. */
const BOUNCE_BUFFERS = { small: 16, large: 8 } as const

/**
 * A block device (LVM, iSCSI, RBD, a partition) by direct I/O: where several hosts reach it, a page cache would hold
 * what another host has overwritten since. `path` is absolute; errors as `openOrigin`.
 */
export async function openBlockOrigin(path: string, options: OpenOriginOptions): Promise<Origin> {
  const access = options.readOnly ? constants.O_RDONLY : constants.O_RDWR
  const { file, sizeBytes, logicalBlockBytes } = await openOriginFile(path, access | constants.O_DIRECT)
  const io = createDirectIo(file, logicalBlockBytes, BOUNCE_BUFFERS)
  return createDescriptorOrigin(
    file,
    {
      kind: 'block',
      uri: path,
      sizeBytes,
      logicalBlockBytes,
      readOnly: options.readOnly,
      canTrim: !options.readOnly,
      canZero: !options.readOnly,
    },
    {
      read: (offset, target) => io.read(offset, target, 0, target.length),
      write: io.write,
      zeroing: createZeroing(file, io.write, false),
      allocation: async (_offset, length) => [{ length, hole: false, zero: false }],
    },
  )
}

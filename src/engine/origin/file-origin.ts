import { constants } from 'node:fs'
import { isUnsupported, nextData, nextHole, readFully, writeFully, type OpenFile } from '../../base/system-calls.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { createDescriptorOrigin } from './descriptor-origin.js'
import { openOriginFile, type OpenOriginOptions } from './open-origin-file.js'
import type { AllocationExtent, Origin } from './origin.js'
import { createZeroing } from './zeroing.js'

/** A run of very many extents is answered as data from there on, which is always true. */
const MAXIMUM_EXTENTS = 16384

/** A raw image in a regular file, local or on NFS, through the page cache. `path` is absolute; errors as `openOrigin`. */
export async function openFileOrigin(path: string, options: OpenOriginOptions): Promise<Origin> {
  const { file, sizeBytes } = await openOriginFile(path, options.readOnly ? constants.O_RDONLY : constants.O_RDWR)
  const write = (offset: number, bytes: Uint8Array): Promise<void> => writeFully(file, offset, bytes)
  return createDescriptorOrigin(
    file,
    {
      kind: 'file',
      uri: path,
      sizeBytes,
      logicalBlockBytes: SECTOR_BYTES,
      readOnly: options.readOnly,
      canTrim: !options.readOnly,
      canZero: !options.readOnly,
    },
    {
      read: (offset, target) => readFully(file, offset, target, 0, target.length),
      write,
      zeroing: createZeroing(file, write, true),
      allocation: (offset, length) => allocationOf(file, offset, offset + length),
    },
  )
}

async function allocationOf(file: OpenFile, start: number, end: number): Promise<AllocationExtent[]> {
  const extents: AllocationExtent[] = []
  let position = start
  const add = (until: number, hole: boolean): void => {
    if (until > position) extents.push({ length: until - position, hole, zero: hole })
    position = until
  }
  try {
    while (position < end && extents.length < MAXIMUM_EXTENTS) {
      add(Math.min((await nextData(file, position)) ?? end, end), true)
      if (position < end) add(Math.min((await nextHole(file, position)) ?? end, end), false)
    }
  } catch (error) {
    if (!isUnsupported(error)) throw error
  }
  add(end, false)
  return extents
}

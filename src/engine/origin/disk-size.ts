import { VmcacheError } from '../../base/errors.js'
import { MAXIMUM_DISK_BYTES, SECTOR_BYTES } from '../../model/geometry.js'

/** Refuses (ORIGIN_SIZE) what cannot be the size of a disk. */
export function checkDiskSize(uri: string, sizeBytes: number): void {
  const isWhole = sizeBytes > 0 && sizeBytes % SECTOR_BYTES === 0
  if (isWhole && sizeBytes <= MAXIMUM_DISK_BYTES) return
  const expected = isWhole
    ? `at most ${MAXIMUM_DISK_BYTES} bytes are expected`
    : `a disk is a positive multiple of ${SECTOR_BYTES} bytes`
  throw new VmcacheError('ORIGIN_SIZE', `origin ${uri} has ${sizeBytes} bytes: ${expected}`, {
    details: { origin: uri, sizeBytes },
    ...(isWhole || sizeBytes === 0 ? {} : { hint: `is it a raw image? truncate --size=%${SECTOR_BYTES} extends it` }),
  })
}

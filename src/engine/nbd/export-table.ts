import { DEFAULT_MAXIMUM_PAYLOAD_BYTES, TransmissionFlag } from '../../protocol/nbd/constants.js'
import type { ExportInformation } from '../../protocol/nbd/export-information.js'
import type { ServedDisk } from '../disk/served-disk.js'

/** Which disks a server offers. */
export interface ExportTable {
  find(name: string): ServedDisk | undefined
  /** What NBD_OPT_LIST shows. */
  names(): readonly string[]
}

/** The table of a socket that serves one disk: by its name, and by the empty one, which is NBD's default. */
export function singleExport(disk: ServedDisk): ExportTable {
  return {
    find: (name) => (name === '' || name === disk.name ? disk : undefined),
    names: () => [disk.name],
  }
}

/** What clients are told about a disk. A flush on one connection covers the writes of all: multi-conn is safe. */
export function informationOf(disk: ServedDisk): ExportInformation {
  const writing = disk.readOnly
    ? TransmissionFlag.readOnly
    : (disk.canTrim ? TransmissionFlag.sendTrim : 0) |
      (disk.canZero ? TransmissionFlag.sendWriteZeroes | TransmissionFlag.sendFastZero : 0)
  return {
    sizeBytes: disk.sizeBytes,
    flags:
      TransmissionFlag.hasFlags |
      TransmissionFlag.sendFlush |
      TransmissionFlag.sendFua |
      TransmissionFlag.sendDontFragment |
      TransmissionFlag.canMultiConn |
      TransmissionFlag.sendCache |
      writing,
    blockSizes: {
      minimum: disk.minimumBlockBytes,
      preferred: disk.preferredBlockBytes,
      maximum: DEFAULT_MAXIMUM_PAYLOAD_BYTES,
    },
  }
}

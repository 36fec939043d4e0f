import { fileSystemMagic, type OpenFile } from '../../base/system-calls.js'

/**
 * File systems, by the magic number of statfs(2), that overwrite a block where it is: after a file was written full once,
 * pushing a range and flushing the device puts it on stable storage. Others (btrfs, ZFS, overlays, network file
 * systems) write elsewhere and need their own commit of the whole file: a device there is used by direct I/O.
 * In the memory of tmpfs nothing is stable, and nothing survives a power cut anyway: for trying things out.
 */
const OVERWRITE_IN_PLACE: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x5846_5342, // xfs
  0x0102_1994, // tmpfs
])

export async function overwritesInPlace(file: OpenFile): Promise<boolean> {
  return OVERWRITE_IN_PLACE.has(await fileSystemMagic(file))
}

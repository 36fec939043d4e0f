import { fileSystemMagic, nextHole, type OpenFile } from '../../base/system-calls.js'

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

/**
 * Whether a device file may be used through the page cache: it lies on such a file system, and was written full once. (A hole
 * is found by SEEK_HOLE, which takes space that was only allocated for one too.)
 */
export async function suitsPageCache(file: OpenFile, sizeBytes: number): Promise<boolean> {
  if (!OVERWRITE_IN_PLACE.has(await fileSystemMagic(file))) return false
  return (await nextHole(file, 0)) === sizeBytes
}

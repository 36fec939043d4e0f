/** Magic numbers of image formats that hold a disk in a shape of their own: their bytes are not those of the disk. */
const FORMATS: readonly { readonly name: string; readonly offset: number; readonly magic: Buffer }[] = [
  { name: 'qcow2', offset: 0, magic: Buffer.from('QFI\xfb', 'latin1') },
  { name: 'qed', offset: 0, magic: Buffer.from('QED\0', 'latin1') },
  { name: 'vmdk', offset: 0, magic: Buffer.from('KDMV', 'latin1') },
  { name: 'vmdk', offset: 0, magic: Buffer.from('COWD', 'latin1') },
  { name: 'vmdk', offset: 0, magic: Buffer.from('# Disk DescriptorFile', 'latin1') },
  { name: 'vhdx', offset: 0, magic: Buffer.from('vhdxfile', 'latin1') },
  { name: 'vpc', offset: 0, magic: Buffer.from('conectix', 'latin1') },
  { name: 'vdi', offset: 64, magic: Buffer.from([0x7f, 0x10, 0xda, 0xbe]) },
  { name: 'parallels', offset: 0, magic: Buffer.from('WithouFreSpacExt', 'latin1') },
  { name: 'parallels', offset: 0, magic: Buffer.from('WithoutFreeSpace', 'latin1') },
]

/** How many bytes of its beginning tell. */
export const IMAGE_FORMAT_BYTES = 512

/** The image format (as QEMU names it) that a file begins with, or null for what may be a raw disk. */
export function imageFormatOf(beginning: Buffer): string | null {
  const found = FORMATS.find(({ offset, magic }) => beginning.subarray(offset, offset + magic.length).equals(magic))
  return found?.name ?? null
}

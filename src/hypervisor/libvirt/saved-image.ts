/**
 * What libvirt writes in front of the memory of a domain that `virsh save` saves, and wants to read before it restores one: struct
 * virQEMUSaveHeader (src/qemu/qemu_saveimage.h of libvirt), then the domain's XML, then the stream of QEMU.
 *
 * ```text
 *  0                16        20          24            28       32             36            92
 *  | magic          | version | dataBytes | wasRunning  | format | cookieOffset | 14 unused   | XML, zero | stream of QEMU
 * ```
 *
 * Numbers have 32 bits, little-endian here: libvirt turns them round where a version comes out too large.
 */
const MAGIC = 'LibvirtQemudSave'
const VERSION = 2
const HEADER_BYTES = 92
/** Of the stream: as QEMU wrote it. */
const FORMAT_RAW = 0

/** All that precedes the stream of a domain with this XML. */
export function savedImageStart(xml: string): Buffer {
  const data = Buffer.from(`${xml}\0`)
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(MAGIC, 0, 'latin1')
  header.writeUInt32LE(VERSION, 16)
  header.writeUInt32LE(data.length, 20)
  header.writeUInt32LE(1, 24)
  header.writeUInt32LE(FORMAT_RAW, 28)
  return Buffer.concat([header, data])
}

/** libvirt reads that much as a file since then, once to know the domain and once more, from a new opening, to get to the stream. */
const READS_TWICE_SINCE = [11, 2] as const

/** How often a libvirt of this version (`11.3.0`) reads the start of an image that it restores. */
export function readsOfStart(version: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [sinceMajor, sinceMinor] = READS_TWICE_SINCE
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor) ? 2 : 1
}

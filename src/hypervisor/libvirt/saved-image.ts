/**
 * What libvirt writes in front of the memory of a domain that `virsh save` saves, and wants to read before it restores one: struct
 * virQEMUSaveHeader (src/qemu/qemu_saveimage.h of libvirt), then the domain's XML, then a cookie, then the stream of QEMU.
 *
 * ```text
 *  0                16        20          24            28       32             36            92
 *  | magic          | version | dataBytes | wasRunning  | format | cookieOffset | 14 unused   | XML, zero | cookie, zero | stream
 * ```
 *
 * Numbers have 32 bits, little-endian here: libvirt turns them round where a version comes out too large. `dataBytes` are those of XML and
 * cookie with their zeroes; `cookieOffset` counts from the XML.
 */
const MAGIC = 'LibvirtQemudSave'
const VERSION = 2
const HEADER_BYTES = 92
/** Of the stream: as QEMU wrote it. */
const FORMAT_RAW = 0

/** What libvirt has to know of a domain to restore it. */
export interface SavedDomain {
  /** Of `virsh dumpxml --migratable`, while the domain ran; it has the passwords of its consoles. */
  readonly xml: string
  /** What that leaves out: the processor that the guest sees, where the XML has what it was made of. */
  readonly cookie: string
}

/** What is kept of a domain that runs with this XML, and `liveXml` where nothing was made fit for other hosts. */
export function savedDomain(xml: string, liveXml: string): SavedDomain {
  const cpu = cpuOf(liveXml)
  return { xml, cookie: `<cookie>\n${cpu === cpuOf(xml) ? '' : cpu}  <slirpHelper/>\n</cookie>\n` }
}

/** libvirt indents what is directly below the domain by two. */
function cpuOf(xml: string): string {
  return /^ {2}<cpu(?: [^>]*)?(?:\/>|>[^]*?^ {2}<\/cpu>)\n/m.exec(xml)?.[0] ?? ''
}

/** All that precedes the stream. */
export function savedImageStart({ xml, cookie }: SavedDomain): Buffer {
  const [first, second] = [Buffer.from(`${xml}\0`), Buffer.from(`${cookie}\0`)]
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(MAGIC, 0, 'latin1')
  header.writeUInt32LE(VERSION, 16)
  header.writeUInt32LE(first.length + second.length, 20)
  header.writeUInt32LE(1, 24)
  header.writeUInt32LE(FORMAT_RAW, 28)
  header.writeUInt32LE(first.length, 32)
  return Buffer.concat([header, first, second])
}

/** libvirt reads that much as a file since then, once to know the domain and once more, from a new opening, to get to the stream. */
const READS_TWICE_SINCE = [11, 2] as const

/** How often a libvirt of this version (`11.3.0`) reads the start of an image that it restores. */
export function readsOfStart(version: string): number {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [sinceMajor, sinceMinor] = READS_TWICE_SINCE
  return major > sinceMajor || (major === sinceMajor && minor >= sinceMinor) ? 2 : 1
}

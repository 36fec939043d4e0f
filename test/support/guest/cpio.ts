/** A file or directory of an archive. */
export interface Entry {
  /** Path without a leading slash. */
  readonly name: string
  /** File type and permissions, as `st_mode`. */
  readonly mode: number
  readonly bytes: Buffer
}

const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'

/** An archive in cpio's "newc" form, which the kernel unpacks as its initramfs (Documentation/driver-api/early-userspace/buffer-format). */
export function archive(entries: readonly Entry[]): Buffer {
  const parts = entries.flatMap((entry, index) => member(entry, index + 1))
  return Buffer.concat([...parts, ...member({ name: TRAILER, mode: 0, bytes: Buffer.alloc(0) }, 0)])
}

/** Header (13 fields of eight hexadecimal digits), name and data, each padded to four bytes. */
function member({ name, mode, bytes }: Entry, inode: number): Buffer[] {
  const links = 1
  const nameBytes = Buffer.from(`${name}\0`)
  const fields = [inode, mode, 0, 0, links, 0, bytes.length, 0, 0, 0, 0, nameBytes.length, 0]
  const header = Buffer.from(MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join(''))
  return [header, nameBytes, padding(header.length + nameBytes.length), bytes, padding(bytes.length)]
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4)
}

import { FORMAT_VERSION, superblockLayout, SUPERBLOCK_OFFSETS, FIRST_CHUNK_OFFSET } from '../../format/superblock.js'
import {
  CHUNK_FLAG,
  CHUNK_HEADER_BYTES,
  CHUNK_KIND,
  chunkHeaderLayout,
  chunkNamesLayout,
} from '../../format/chunk-header.js'
import {
  EXTENT_BYTES,
  EXTENT_KIND,
  FRAME_FLAG,
  FRAME_KIND,
  MAXIMUM_FRAME_BYTES,
  localHeaderLayout,
  portableHeaderLayout,
} from '../../format/frame.js'
import {
  MAXIMUM_ATTRIBUTE_BYTES,
  CHECKPOINT_FILE_CHUNK_BYTES,
  OBJECT_ALIGNMENT_BYTES,
  OBJECT_BLOCK_BYTES,
  OBJECT_FLAG,
  objectHeaderLayout,
  objectSealLayout,
} from '../../format/object-header.js'
import type { Layout } from '../../format/structure.js'
import { SUMMARY_FLAG, SUMMARY_ENTRY_BYTES, summaryLayout } from '../../format/summary.js'
import { bold, definition, page, paragraph, section, subsection, text, title, verbatimLines } from './roff.js'

/** What the fields of a structure mean, in its order. Every field but reserved ones has a line here, and no other. */
interface Described {
  readonly layout: Layout
  readonly meanings: Readonly<Record<string, string>>
}

const SUPERBLOCK: Described = {
  layout: superblockLayout,
  meanings: {
    version: 'Format of the device.',
    deviceIndex: 'Place of this device in the list below.',
    deviceCount: 'Devices of the cache.',
    flags: 'None are defined: 0.',
    signature: '"vmcache device", for people who look at the device.',
    cacheId: 'The cache; every chunk header repeats it.',
    deviceId: 'This device.',
    hostId: 'The host that made the cache.',
    writeCount: 'Rises with each write of a copy; the whole copy with the higher count is the superblock.',
    openCount:
      'Rises, on stable storage, each time the cache is opened, before anything else is written, and each time its devices change. Generations are built from it, and the list of the highest one counts.',
    createdAt: 'Milliseconds since 1970.',
    firstChunkOffset: 'Where the first chunk begins.',
    chunkBytes: 'Size of a chunk: a power of two from 1 MiB to 32 MiB.',
    chunkCount: 'Chunks of this device.',
    logicalBlockBytes: '512 or 4096: writes to the device are multiples of it.',
    blockBytes: 'Default unit of fill of the disks of the cache.',
    cacheName: 'Name of the cache.',
    devices: 'One entry of 24 bytes for each device: id (16 bytes), number of its chunks (u32), zero (u32).',
  },
}

const CHUNK_HEADER: Described = {
  layout: chunkHeaderLayout,
  meanings: {
    version: 'Format of the chunk.',
    kind: `${kindsOf(CHUNK_KIND)}. The fields below are those of a log and of a free chunk; a chunk of a kind that a version does not know is left alone.`,
    phase: 'Sectors (0 to 7) added to an offset of the disk before it is divided into pages.',
    level: 'Persistence level of the log: 0.',
    stream: 'Append stream of the log: 0.',
    flags: `${flagsOf(CHUNK_FLAG)}: the log was in write-back when the chunk was opened, so its origin may lack what is in here.`,
    cacheId: 'The cache. A header with another id is of an earlier cache, and the chunk is free.',
    generation: 'Life of the chunk; never used twice. Frames and summary repeat it.',
    logId: 'The log. 0 in a free chunk, like all that follows but createdAt.',
    sequence: 'Number of the chunk in its log, without gaps.',
    session: 'Rises with each recovery of the log.',
    sessionStart: 'Sequence of the first chunk of the session. What older sessions have at or above it does not count.',
    firstFrame: 'Number of the first frame in the chunk.',
    firstLsn: 'Position of the first write frame in it.',
    previousFrameChecksum: 'Checksum of the local header of the frame before the first.',
    previousWriteChecksum: 'Checksum of the portable part of the write frame before the first.',
    settledLsn: 'As in the portable header, when the chunk was opened.',
    stableFrame: 'As in the local header, when the chunk was opened.',
    floor: '0 while a log has one append stream.',
    epoch: 'Epoch of the lease under which the log is written.',
    createdAt: 'When the chunk was opened: milliseconds since 1970.',
    bootId: 'Boot of the host (/proc/sys/kernel/random/boot_id) in which the session began.',
    diskBytes: 'Size of the disk.',
  },
}

const CHUNK_NAMES: Described = {
  layout: chunkNamesLayout,
  meanings: {
    generation: 'That of the header; another one says that these are names of an earlier life of the chunk.',
    diskName: 'Name of the disk.',
    origin: 'Absolute path or NBD URI of its origin.',
  },
}

const OBJECT_HEADER: Described = {
  layout: objectHeaderLayout,
  meanings: {
    version: 'Format of the chunk.',
    kind: `${CHUNK_KIND.object}.`,
    padding: 'Zero.',
    flags: `Sum of ${flagsOf(OBJECT_FLAG)}: all of the object is on stable storage; the object is being deleted, whatever its other chunks say.`,
    cacheId: 'As in every chunk header.',
    generation: 'As in every chunk header; the seal repeats it.',
    objectId: 'The object.',
    number: 'Number of the chunk in its object, from 0.',
    createdAt: 'When the object was written: milliseconds since 1970; the same in all of its chunks.',
  },
}

const OBJECT_SEAL: Described = {
  layout: objectSealLayout,
  meanings: {
    generation: 'That of the header; another one says that this is of an earlier life of the chunk.',
    chunkCount: 'Chunks of the object.',
    attributeBytes: `Length of the attributes, at most ${MAXIMUM_ATTRIBUTE_BYTES}: JSON of whoever wrote the object.`,
    streamBytes: 'Length of the stream.',
    vm: 'UUID of the VM.',
    name: 'What the VM was called.',
    blocks: `One CRC-32 (u32) for each block of ${OBJECT_BLOCK_BYTES} bytes of this chunk, the first of which begins behind the header.`,
  },
}

const LOCAL_HEADER: Described = {
  layout: localHeaderLayout,
  meanings: {
    version: 'Format of the local header.',
    kind: `${kindsOf(FRAME_KIND)}; that of the portable header.`,
    stream: 'Append stream: 0.',
    headerBytes: 'Local header, portable header, extents and page checksums, without padding.',
    frameBytes: `The whole frame with its padding, at most ${MAXIMUM_FRAME_BYTES}; the next one begins behind it.`,
    generation: 'That of the chunk.',
    session: 'That of the chunk.',
    frame: 'Number of the frame in its log, without gaps.',
    stableFrame: 'Every frame with a lower number was on stable storage when this one was written.',
    floor: '0.',
    previousChecksum: 'Checksum of the local header of the frame before.',
    portableChecksum: 'Checksum of the portable part of this frame.',
  },
}

const PORTABLE_HEADER: Described = {
  layout: portableHeaderLayout,
  meanings: {
    version: 'Format of the portable part.',
    kind: `${kindsOf(FRAME_KIND)}. A frame holds one of the two.`,
    flags: `Sum of ${flagsOf(FRAME_FLAG)}: a flush of the guest was answered; the session has begun; the log was closed cleanly behind this frame; the log is in write-back: what it has at or above settledLsn the origin lacks.`,
    extentCount: 'Extents behind the header.',
    checksumCount: 'Page checksums behind the extents: one for each page of data.',
    dataSectors: 'Sectors of data.',
    lsnUnits: 'Positions that a write frame takes: its portable part in whole sectors, and its data. 0 for copies.',
    previousWriteChecksum: 'Checksum of the portable part of the write frame before.',
    logId: 'The log.',
    epoch: 'Epoch of the lease.',
    lsn: 'Position of a write frame: sectors of write frames before it, over all chunks, from 1. Of copies, the position that they follow.',
    settledLsn: 'The origin needs nothing more from write frames below this position.',
    writtenAt: 'Milliseconds since 1970.',
  },
}

const SUMMARY: Described = {
  layout: summaryLayout,
  meanings: {
    version: 'Format of the summary.',
    flags: `${flagsOf(SUMMARY_FLAG)}: the log was in write-back when the chunk was full.`,
    entryCount: 'Entries before the trailer.',
    entriesChecksum: 'CRC-32 over them.',
    endOffset: 'Where the frames of the chunk end; what is between there and the entries was never part of the log.',
    generation: 'That of the chunk; another one says that the summary is of an earlier life of it.',
    logId: 'That of the chunk.',
    session: 'That of the chunk.',
    sequence: 'That of the chunk.',
    nextFrame: 'Number of the frame behind the last one.',
    nextLsn: 'Position behind the last one.',
    lastFrameChecksum: 'Checksum of the local header of the last frame.',
    lastWriteChecksum: 'Checksum of the portable part of the last write frame.',
    settledLsn: 'As in the portable header, when the summary was written.',
    writtenAt: 'Milliseconds since 1970.',
  },
}

/** Every structure that the page describes. */
export const DESCRIBED: readonly Described[] = [
  SUPERBLOCK,
  CHUNK_HEADER,
  CHUNK_NAMES,
  OBJECT_HEADER,
  OBJECT_SEAL,
  LOCAL_HEADER,
  PORTABLE_HEADER,
  SUMMARY,
]

/** vmcache-format(5): the bytes on the devices of a cache. */
export function formatPage(): string {
  return page([
    title('vmcache-format', 5),
    section('NAME'),
    'vmcache\\-format \\- bytes on the devices of a vmcache cache',
    section('DESCRIPTION'),
    text(
      `A device of a cache is a file or a block device. It begins with two copies of a superblock and from byte ${FIRST_CHUNK_OFFSET} on is cut into chunks of ` +
        'equal size. A chunk is free; or part of the log of one disk: a header, frames from its start on, and at its end, when ' +
        'it is full, a summary of them; or part of an object, the checkpoint of one VM: a header, and data.',
    ),
    ...verbatimLines([
      `device   | superblock | its copy | chunk | chunk | chunk | ...`,
      'chunk    | header | names | frame | frame | ...   | entries | trailer |',
      'chunk    | header | seal  | block | block | ...                     |',
      'frame    | local header | portable header | extents | checksums | data |',
    ]),
    paragraph(
      text(
        `This page describes version ${FORMAT_VERSION}. How the structures follow from each other after a crash is told in`,
      ),
      '.BR vmcache\\-recovery (7).',
    ),
    section('CONVENTIONS'),
    text(
      'Numbers are little-endian. A u64 holds at most 2^53 - 1. An id is 16 random bytes. A text is UTF-8, padded with zeroes. ' +
        'Reserved bytes are zero. A sector is 512 bytes, a page 4096.',
    ),
    paragraph(
      text(
        'Every structure begins with a CRC-32 (ISO 3309, as in zlib) over all of its bytes behind that checksum, then a magic ' +
          'number of four characters. All zeroes are never a valid structure. A reader refuses a structure with a version above ' +
          'its own.',
      ),
    ),
    section('SUPERBLOCK'),
    text(
      `Two copies, at ${SUPERBLOCK_OFFSETS.join(' and ')}. They are written in turn, the one with an even writeCount at ${SUPERBLOCK_OFFSETS[0]}, ` +
        'so that one is always whole.',
    ),
    ...structure(SUPERBLOCK),
    section('CHUNK HEADER'),
    text(
      `The first ${CHUNK_HEADER_BYTES} bytes of a chunk. The first sector says all that the log needs; devices write sectors whole, so ` +
        'after a power cut it is the old or the new one, and one that is neither is damage. A header of all zeroes is that of a ' +
        'chunk that was never used.',
    ),
    ...structure(CHUNK_HEADER),
    paragraph(text('The sectors behind it name the disk, so that a cache can be imported from its devices alone:')),
    ...structure(CHUNK_NAMES),
    section('FRAME'),
    text(
      'What one append writes. Frames begin and end on logical blocks of the device. The local header belongs to the device, the ' +
        'portable part (portable header, extents and page checksums) to the disk. Data begins on the first sector behind the ' +
        'headers, and the frame is padded with zeroes to a logical block.',
    ),
    subsection('Local header'),
    ...structure(LOCAL_HEADER),
    subsection('Portable header'),
    text('Its checksum covers the whole portable part.'),
    ...structure(PORTABLE_HEADER),
    subsection('Extents'),
    text(
      `Each has ${EXTENT_BYTES} bytes: first page (u32), zero (u32), number of pages (u32), kind (u8), sector map (u8), zero (u16). Bit n ` +
        'of the sector map stands for sector n of each page of the extent.',
    ),
    ...Object.entries(EXTENT_KIND).map(([name, value]) =>
      definition(bold(`${value} ${name}`), text(EXTENT_MEANINGS[name]!)),
    ),
    subsection('Page checksums'),
    text(
      'One CRC-32 (u32) for each page of data, in the order of the extents, over the sectors of it that are stored.',
    ),
    section('SUMMARY'),
    text(
      'At the end of a chunk that is full: its entries, then a trailer that ends with the chunk. It is written only when all frames ' +
        'of the chunk are on stable storage, so it proves them.',
    ),
    paragraph(
      text(
        `An entry has ${SUMMARY_ENTRY_BYTES} bytes and stands for one page of data: page (u32), its checksum (u32), the sector of the chunk where its data ` +
          'begins (u16), sector map (u8), zero (u8). Or for another extent: first page (u32), number of pages (u32), zero ' +
          '(u16), zero (u8), kind (u8). Entries are in the order of the frames.',
      ),
    ),
    ...structure(SUMMARY),
    section('OBJECT'),
    text(
      'The checkpoint of a VM: what its hypervisor wrote to one stream. Its bytes fill its chunks one after the other, each from behind the ' +
        `header to the end of the chunk: first the attributes, padded with zeroes to a multiple of ${OBJECT_ALIGNMENT_BYTES}, then the stream, padded likewise. ` +
        'A checksum covers the padding too.',
    ),
    paragraph(
      text(
        'All chunks are written first, headers without the sealed flag last, and put on stable storage; then read back; then each header is written ' +
          'again with the flag. So one header with the flag proves the whole object, and an object none of whose chunks has it is nothing: ' +
          'its chunks are freed when the cache is opened. A chunk that a sealed object lacks is damage, and the object stays. An object is deleted by the ' +
          'deleted flag in one of its chunks, which is freed when all others are.',
      ),
    ),
    paragraph(
      text(
        `A checkpoint on storage is a file with the same chunks, one behind the other, of ${CHECKPOINT_FILE_CHUNK_BYTES / 2 ** 20} MiB each but the last, which ends with the payload. ` +
          'Its cacheId is the id of the object, its generation 1. It is sealed before it has the name ID.checkpoint.',
      ),
    ),
    subsection('Header'),
    text('The first sector of the chunk. Up to generation it is that of any other chunk.'),
    ...structure(OBJECT_HEADER),
    subsection('Seal'),
    text('The sectors behind it, the same in all chunks of the object but for generation and blocks.'),
    ...structure(OBJECT_SEAL),
    section('SEE ALSO'),
    '.BR vmcache\\-recovery (7),',
    '.BR vmcache\\-architecture (7),',
    '.BR vmcache\\-cache\\-check (1)',
  ])
}

const EXTENT_MEANINGS: Readonly<Record<string, string>> = {
  data: 'The sectors of the map of each page, stored back to back. More than one page only with all sectors.',
  zero: 'The guest zeroed these sectors.',
  trim: 'The guest trimmed these sectors.',
  invalid: 'Nothing that was logged of these pages before may be served.',
  touched:
    'Regions (16 MiB of the disk) of which a power cut may leave clean pages stale. The first frame of a chunk lists all of them.',
  quiet: 'Regions of which that is no longer so.',
  bad: 'Pages of which a write was lost before the origin had it: not to be read until they are written anew. The first frame of a chunk lists all of them.',
}

/** Ruler, then the meaning of each field. */
function structure({ layout, meanings }: Described): string[] {
  return [
    ...verbatimLines(ruler(layout)),
    ...layout.fields
      .filter(({ name }) => name !== 'reserved')
      .map(({ name, offset, bytes, type }) => {
        const width = type.startsWith('text')
          ? `text, ${bytes} bytes`
          : type.startsWith('reserved')
            ? `${bytes} bytes`
            : type
        return definition(`${bold(name)} (${text(`${offset}: ${width}`)})`, text(meanings[name]!))
      }),
  ]
}

const ROW_BYTES = 16
const CELL = 4

/** Rows of 16 bytes with the fields in their places; a field of several rows is drawn once. */
function ruler({ magic, fields, sizeBytes }: Layout): string[] {
  const all = [{ name: 'checksum', offset: 0, bytes: 4 }, { name: `"${magic}"`, offset: 4, bytes: 4 }, ...fields]
  const lines = [
    `       ${Array.from({ length: ROW_BYTES }, (_, byte) => String(byte).padEnd(CELL))
      .join('')
      .trimEnd()}`,
  ]
  let row = ''
  let rowAt = 0
  const flush = (): void => {
    if (row !== '') lines.push(`${String(rowAt).padStart(5)} ${row}|`)
    row = ''
  }
  for (const { name, offset, bytes } of all) {
    if (bytes > ROW_BYTES && offset % ROW_BYTES === 0) {
      flush()
      lines.push(`${String(offset).padStart(5)} ${cell(`${name}, ${bytes} bytes`, ROW_BYTES)}|`)
      continue
    }
    for (let at = offset; at < offset + bytes;) {
      if (at % ROW_BYTES === 0) {
        flush()
        rowAt = at
      }
      const width = Math.min(offset + bytes - at, ROW_BYTES - (at % ROW_BYTES))
      const rest = offset + bytes - at - width
      row += cell(at === offset ? name : '...', width)
      at += width
      if (rest <= ROW_BYTES) continue
      lines.push(`${String(rowAt).padStart(5)} ${row}|`, `      ... ${rest} more bytes`)
      row = ''
      at = offset + bytes - ((offset + bytes) % ROW_BYTES)
      rowAt = at
      if (at < offset + bytes) row = cell('...', offset + bytes - at)
      break
    }
  }
  flush()
  return [...lines, `${String(sizeBytes).padStart(5)}`]
}

function cell(name: string, bytes: number): string {
  const width = bytes * CELL - 1
  return `|${name.length > width ? `${name.slice(0, width - 1)}~` : name.padEnd(width)}`
}

function kindsOf(kinds: Readonly<Record<string, number>>): string {
  return Object.entries(kinds)
    .map(([name, value]) => `${value} ${name}`)
    .join(', ')
}

function flagsOf(flags: Readonly<Record<string, number>>): string {
  return Object.entries(flags)
    .map(([name, value]) => `${value} (${name})`)
    .join(', ')
}

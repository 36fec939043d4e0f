/**
 * Reads logs from the bytes of devices, written after vmcache-format(5) and sharing nothing with src/: numbers at offsets, and zlib's CRC.
 */
import { crc32 } from 'node:zlib'

const HEADER = 4096
const SECTOR = 512

export interface ReadChunk {
  readonly device: number
  readonly index: number
  readonly offset: number
  readonly kind: 'free' | 'log'
  readonly generation: number
  readonly logId: string
  readonly sequence: number
  readonly session: number
  readonly sessionStart: number
  readonly firstFrame: number
  readonly firstLsn: number
  readonly previousFrameChecksum: number
  readonly previousWriteChecksum: number
  readonly stableFrame: number
  readonly frames: readonly ReadFrame[]
  /** Where the frames end. */
  readonly end: number
  readonly trailer: ReadTrailer | undefined
}

export interface ReadFrame {
  /** From the start of the chunk. */
  readonly at: number
  readonly bytes: number
  readonly kind: 'writes' | 'copies'
  readonly flags: number
  readonly session: number
  readonly frame: number
  readonly stableFrame: number
  readonly previousChecksum: number
  readonly checksum: number
  readonly lsn: number
  readonly lsnUnits: number
  readonly settledLsn: number
  readonly previousWriteChecksum: number
  readonly writeChecksum: number
  readonly extents: readonly ReadExtent[]
  /** Whether every page of data has its checksum. */
  readonly dataIsGood: boolean
}

export interface ReadExtent {
  readonly kind: 'data' | 'zero' | 'trim' | 'invalid' | 'touched' | 'quiet'
  readonly page: number
  readonly count: number
  readonly sectorMap: number
}

export interface ReadTrailer {
  readonly entryCount: number
  readonly endOffset: number
  readonly sequence: number
  readonly session: number
  readonly nextFrame: number
  readonly nextLsn: number
  readonly lastFrameChecksum: number
  readonly lastWriteChecksum: number
  readonly entriesAreGood: boolean
}

const KINDS = ['', 'data', 'zero', 'trim', 'invalid', 'touched', 'quiet'] as const

/** Every chunk of the devices whose header is whole, in the order of the devices. */
export function readDevices(devices: readonly Buffer[], chunkBytes: number): ReadChunk[] {
  return devices.flatMap((bytes, device) =>
    Array.from({ length: Math.floor(bytes.length / chunkBytes) }, (_, index) => {
      const offset = index * chunkBytes
      return readChunk(bytes.subarray(offset, offset + chunkBytes), { device, index, offset })
    }).filter((chunk) => chunk !== undefined),
  )
}

function readChunk(chunk: Buffer, place: { device: number; index: number; offset: number }): ReadChunk | undefined {
  if (!isWhole(chunk, 0, SECTOR, 'vmCH')) return undefined
  const generation = u64(chunk, 32)
  const session = u64(chunk, 64)
  const logId = chunk.toString('hex', 40, 56)
  const kind = chunk[10] === 1 ? 'free' : 'log'
  const trailer = kind === 'log' ? readTrailer(chunk, generation, session) : undefined
  const frames: ReadFrame[] = []
  let end = HEADER
  while (kind === 'log' && end < (trailer?.endOffset ?? chunk.length)) {
    const frame = readFrame(chunk, end, generation, logId)
    if (frame === undefined) break
    frames.push(frame)
    end += frame.bytes
  }
  return {
    ...place,
    kind,
    generation,
    logId,
    sequence: u64(chunk, 56),
    session,
    sessionStart: u64(chunk, 72),
    firstFrame: u64(chunk, 80),
    firstLsn: u64(chunk, 88),
    previousFrameChecksum: chunk.readUInt32LE(96),
    previousWriteChecksum: chunk.readUInt32LE(100),
    stableFrame: u64(chunk, 112),
    frames,
    end,
    trailer,
  }
}

function readFrame(chunk: Buffer, at: number, generation: number, logId: string): ReadFrame | undefined {
  if (!isWhole(chunk, at, 80, 'vmFL') || u64(chunk, at + 20) !== generation) return undefined
  const headerBytes = chunk.readUInt32LE(at + 12)
  const bytes = chunk.readUInt32LE(at + 16)
  const portable = at + 80
  if (!isWhole(chunk, portable, headerBytes - 80, 'vmFP')) return undefined
  if (chunk.readUInt32LE(portable) !== chunk.readUInt32LE(at + 64)) return undefined
  if (chunk.toString('hex', portable + 32, portable + 48) !== logId) return undefined
  const extents: ReadExtent[] = []
  const extentCount = chunk.readUInt32LE(portable + 12)
  let checksumAt = portable + 80 + extentCount * 16
  let dataAt = at + Math.ceil(headerBytes / SECTOR) * SECTOR
  let dataIsGood = true
  for (let index = 0; index < extentCount; index++) {
    const extentAt = portable + 80 + index * 16
    const extent = {
      kind: KINDS[chunk[extentAt + 12]!] as ReadExtent['kind'],
      page: chunk.readUInt32LE(extentAt),
      count: chunk.readUInt32LE(extentAt + 8),
      sectorMap: chunk[extentAt + 13]!,
    }
    extents.push(extent)
    if (extent.kind !== 'data') continue
    const length = extent.sectorMap.toString(2).replaceAll('0', '').length * SECTOR
    for (let page = 0; page < extent.count; page++, checksumAt += 4, dataAt += length)
      dataIsGood &&= crc32(chunk.subarray(dataAt, dataAt + length)) === chunk.readUInt32LE(checksumAt)
  }
  return {
    at,
    bytes,
    kind: chunk[at + 10] === 1 ? 'writes' : 'copies',
    flags: chunk[portable + 11]!,
    session: u64(chunk, at + 28),
    frame: u64(chunk, at + 36),
    stableFrame: u64(chunk, at + 44),
    previousChecksum: chunk.readUInt32LE(at + 60),
    checksum: chunk.readUInt32LE(at),
    lsn: u64(chunk, portable + 56),
    lsnUnits: chunk.readUInt32LE(portable + 24),
    settledLsn: u64(chunk, portable + 64),
    previousWriteChecksum: chunk.readUInt32LE(portable + 28),
    writeChecksum: chunk.readUInt32LE(portable),
    extents,
    dataIsGood,
  }
}

function readTrailer(chunk: Buffer, generation: number, session: number): ReadTrailer | undefined {
  const at = chunk.length - 128
  if (!isWhole(chunk, at, 128, 'vmSM') || u64(chunk, at + 24) !== generation || u64(chunk, at + 48) !== session)
    return undefined
  const entryCount = chunk.readUInt32LE(at + 12)
  return {
    entryCount,
    endOffset: chunk.readUInt32LE(at + 20),
    session,
    sequence: u64(chunk, at + 56),
    nextFrame: u64(chunk, at + 64),
    nextLsn: u64(chunk, at + 72),
    lastFrameChecksum: chunk.readUInt32LE(at + 80),
    lastWriteChecksum: chunk.readUInt32LE(at + 84),
    entriesAreGood: crc32(chunk.subarray(at - entryCount * 12, at)) === chunk.readUInt32LE(at + 16),
  }
}

function isWhole(bytes: Buffer, at: number, length: number, magic: string): boolean {
  return (
    length >= 80 &&
    at + length <= bytes.length &&
    bytes.toString('latin1', at + 4, at + 8) === magic &&
    crc32(bytes.subarray(at + 4, at + length)) === bytes.readUInt32LE(at)
  )
}

function u64(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at))
}

/** What is wrong with the one log of these chunks; nothing where frames, chains, positions and summaries all follow. */
export function flawsOf(chunks: readonly ReadChunk[]): string[] {
  const flaws: string[] = []
  const log = chunks.filter(({ kind }) => kind === 'log').sort((a, b) => a.sequence - b.sequence)
  let expected: { frame: number; lsn: number; frameChecksum: number; writeChecksum: number } | undefined
  log.forEach((chunk, index) => {
    const name = `chunk ${chunk.sequence}`
    const flaw = (text: string): void => void flaws.push(`${name}: ${text}`)
    const before = log[index - 1]
    if (before !== undefined && chunk.sequence !== before.sequence + 1) flaw(`follows chunk ${before.sequence}`)
    expected ??= {
      frame: chunk.firstFrame,
      lsn: chunk.firstLsn,
      frameChecksum: chunk.previousFrameChecksum,
      writeChecksum: chunk.previousWriteChecksum,
    }
    if (chunk.firstFrame !== expected.frame) flaw(`begins with frame ${chunk.firstFrame}, not ${expected.frame}`)
    if (chunk.firstLsn !== expected.lsn) flaw(`begins at ${chunk.firstLsn}, not ${expected.lsn}`)
    if (chunk.previousFrameChecksum !== expected.frameChecksum) flaw('breaks the chain of frames')
    if (chunk.previousWriteChecksum !== expected.writeChecksum) flaw('breaks the chain of writes')
    for (const frame of chunk.frames) {
      if (frame.frame !== expected.frame) flaw(`frame ${frame.frame} stands where ${expected.frame} should`)
      if (frame.lsn !== expected.lsn) flaw(`frame ${frame.frame} is at ${frame.lsn}, not ${expected.lsn}`)
      if (frame.previousChecksum !== expected.frameChecksum) flaw(`frame ${frame.frame} breaks the chain of frames`)
      if (frame.previousWriteChecksum !== expected.writeChecksum)
        flaw(`frame ${frame.frame} breaks the chain of writes`)
      if (frame.session !== chunk.session) flaw(`frame ${frame.frame} is of session ${frame.session}`)
      if (!frame.dataIsGood) flaw(`frame ${frame.frame} has bad data`)
      if (frame.settledLsn > frame.lsn) flaw(`frame ${frame.frame} settles what is not written`)
      if (frame.stableFrame > frame.frame) flaw(`frame ${frame.frame} calls itself stable`)
      expected = {
        frame: frame.frame + 1,
        lsn: frame.lsn + frame.lsnUnits,
        frameChecksum: frame.checksum,
        writeChecksum: frame.kind === 'writes' ? frame.writeChecksum : expected.writeChecksum,
      }
    }
    const { trailer } = chunk
    if (trailer === undefined) return
    if (trailer.sequence !== chunk.sequence) flaw(`its summary is of chunk ${trailer.sequence}`)
    if (trailer.endOffset !== chunk.end) flaw(`its summary ends at ${trailer.endOffset}, its frames at ${chunk.end}`)
    if (trailer.nextFrame !== expected.frame || trailer.nextLsn !== expected.lsn)
      flaw('its summary has another position')
    if (trailer.lastFrameChecksum !== expected.frameChecksum) flaw('its summary breaks the chain of frames')
    if (trailer.lastWriteChecksum !== expected.writeChecksum) flaw('its summary breaks the chain of writes')
    if (!trailer.entriesAreGood) flaw('the entries of its summary are bad')
  })
  return flaws
}

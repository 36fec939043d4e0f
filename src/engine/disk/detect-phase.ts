import { SECTORS_PER_PAGE, SECTOR_BYTES } from '../../model/geometry.js'
import type { DiskPhase } from '../../model/phase.js'
import type { Origin } from '../origin/origin.js'

const MBR_SIGNATURE = 0xaa55
const MBR_TABLE_OFFSET = 446
const MBR_ENTRY_BYTES = 16
const GPT_PROTECTIVE = 0xee
const GPT_SIGNATURE = 'EFI PART'
/** As much of a disk's start as holds a partition table of 128 entries. */
const HEAD_BYTES = 34 * SECTOR_BYTES
const UNKNOWN: DiskPhase = { sectors: 0, source: 'none' }

/**
 * Sectors to add before a disk is divided into pages, so that the pages of its largest partition do not straddle ours: many old guests
 * begin theirs at sector 63. 0 where there is no partition table, or the origin cannot be read now: its traffic will tell.
 */
export async function detectPhase(origin: Origin): Promise<DiskPhase> {
  const head = Buffer.alloc(Math.min(HEAD_BYTES, origin.description.sizeBytes))
  try {
    await origin.read(0, head)
  } catch {
    return UNKNOWN
  }
  return phaseOf(head)
}

/** The phase that the partition table in the first sectors of a disk asks for (MBR, or GPT per UEFI 2.10 section 5.3). */
export function phaseOf(head: Buffer): DiskPhase {
  if (head.length < SECTOR_BYTES || head.readUInt16LE(510) !== MBR_SIGNATURE) return UNKNOWN
  let largest = { start: 0, sectors: 0 }
  let protective = false
  for (let entry = 0; entry < 4; entry++) {
    const at = MBR_TABLE_OFFSET + entry * MBR_ENTRY_BYTES
    const type = head.readUInt8(at + 4)
    const partition = { start: head.readUInt32LE(at + 8), sectors: head.readUInt32LE(at + 12) }
    if (type === GPT_PROTECTIVE) protective = true
    else if (type !== 0 && partition.sectors > largest.sectors) largest = partition
  }
  if (protective) largest = largestOfGpt(head)
  if (largest.sectors === 0) return UNKNOWN
  const sectors = (SECTORS_PER_PAGE - (largest.start % SECTORS_PER_PAGE)) % SECTORS_PER_PAGE
  return { sectors, source: 'partitions' }
}

function largestOfGpt(head: Buffer): { start: number; sectors: number } {
  let largest = { start: 0, sectors: 0 }
  if (head.length < 2 * SECTOR_BYTES || head.toString('latin1', SECTOR_BYTES, SECTOR_BYTES + 8) !== GPT_SIGNATURE)
    return largest
  const tableAt = Number(head.readBigUInt64LE(SECTOR_BYTES + 72)) * SECTOR_BYTES
  const entries = head.readUInt32LE(SECTOR_BYTES + 80)
  const entryBytes = head.readUInt32LE(SECTOR_BYTES + 84)
  if (entryBytes < 128) return largest
  for (let entry = 0; entry < entries; entry++) {
    const at = tableAt + entry * entryBytes
    if (at + entryBytes > head.length) break
    if (head.subarray(at, at + 16).every((byte) => byte === 0)) continue
    const start = Number(head.readBigUInt64LE(at + 32))
    const sectors = Number(head.readBigUInt64LE(at + 40)) - start + 1
    if (sectors > largest.sectors) largest = { start, sectors }
  }
  return largest
}

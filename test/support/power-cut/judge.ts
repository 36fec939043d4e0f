import type { Mode } from '../../../src/model/mode.js'
import type { DiskHistory } from './disk-history.js'
import { nameOf } from './stamps.js'

/** A moment of the life of a disk. */
export interface Cut {
  readonly history: DiskHistory
  readonly cutAt: number
}

/** What a disk reads as after a power cut, and what its origin held then: the stamp of each sector. */
export interface Found {
  readonly disk: Int32Array
  readonly origin: Int32Array
}

const MOST_FAULTS = 8

/** The origin has everything: the disk reads as it, and it keeps the rules of any disk. */
function faultsThrough({ disk, origin }: Found, { history, cutAt }: Cut): string[] {
  const faults: string[] = []
  for (const [sector, stamp] of disk.entries()) {
    if (stamp === origin[sector] || faults.length === MOST_FAULTS) continue
    faults.push(`sector ${sector} reads as ${nameOf(stamp)}, the origin has ${nameOf(origin[sector]!)}`)
  }
  return [...faults, ...history.faultsAfterPowerCut(disk, cutAt)]
}

/** The log has everything, in order; the origin by itself is what an earlier power cut could have left. */
function faultsBack({ disk, origin }: Found, { history, cutAt }: Cut): string[] {
  const ofOrigin = history.faultsOfEarlierPowerCut(origin, cutAt).map((fault) => `origin alone: ${fault}`)
  return [...history.faultsOfPrefix(disk, cutAt), ...ofOrigin]
}

/** What is wrong with a disk after a power cut, by the promises D1 to D4 for its mode; empty where nothing is. */
export function faultsOf(mode: Mode, found: Found, cut: Cut): string[] {
  return mode === 'write-back' ? faultsBack(found, cut) : faultsThrough(found, cut)
}

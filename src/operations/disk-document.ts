import type { EngineDisk } from '../engine/engine.js'
import type { ModeState } from '../model/mode.js'
import type { DiskDocument } from '../protocol/control/documents.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'
import { allocationOf } from './allocation.js'
import { knownDisk } from './inventory.js'
import { lacksWrites } from './origin-guard.js'

/** A disk as lists show it: what the engine says, or, where it does not serve the disk, what is recorded. */
export async function diskDocument(plane: ControlPlane, name: string): Promise<DiskDocument> {
  const served = (await plane.engine.disks()).find(({ disk }) => disk === name)
  return joined(plane, knownDisk(plane.inventory, name), served)
}

export async function diskDocuments(plane: ControlPlane): Promise<DiskDocument[]> {
  const served = new Map((await plane.engine.disks()).map((disk) => [disk.disk, disk]))
  const records = [...plane.inventory.disks.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  return records.map((record) => joined(plane, record, served.get(record.name)))
}

function joined(plane: ControlPlane, record: DiskRecord, served: EngineDisk | undefined): DiskDocument {
  const known = served ?? unservedDisk(plane, record)
  return {
    ...known,
    mode: modeState(plane, record, known),
    vm: record.vm === null ? null : (plane.inventory.vms.get(record.vm.uuid)?.name ?? record.vm.uuid),
    target: record.vm?.target ?? null,
    uri: nbdUri(record.name, record.socket),
    minBytes: record.minBytes,
    shares: record.shares,
    allocation: allocationOf(plane.inventory, record.name),
    lacksWrites: lacksWrites(plane, record.name),
    lease: { host: plane.host.name, epoch: plane.inventory.epochs.get(record.name) ?? 0 },
  }
}

/** The mode in force, and why it is another than what is wanted: it cannot be had, or not yet. */
function modeState({ inventory }: ControlPlane, { name, mode }: DiskRecord, known: EngineDisk): ModeState {
  const { inForce } = known.mode
  const changing = inventory.changingModes.get(name)
  if (changing !== undefined && changing !== inForce)
    return { wanted: changing, inForce, reason: known.reason ?? 'it drains: what is dirty goes to the origin first' }
  const withheld = inventory.withheldModes.get(name)
  return withheld === undefined ? known.mode : { wanted: mode, inForce, reason: withheld }
}

function unservedDisk({ inventory }: ControlPlane, record: DiskRecord): EngineDisk {
  const trouble = inventory.diskTroubles.get(record.name)
  return {
    disk: record.name,
    cache: record.cache,
    origin: record.origin,
    socket: record.socket,
    sizeBytes: inventory.tenures.get(record.name)?.sizeBytes ?? 0,
    readOnly: record.readOnly,
    mode: { wanted: record.mode, inForce: record.mode, reason: null },
    replacement: record.replacement,
    minBytes: record.minBytes,
    maxBytes: record.maxBytes,
    shares: record.shares,
    writeBack: record.writeBack,
    allocatedBytes: 0,
    cachedBytes: 0,
    dirtyBytes: 0,
    dirtyAgeSeconds: null,
    secondsToFlush: null,
    stuckPages: 0,
    lostPages: 0,
    badPages: 0,
    phase: null,
    // Without trouble it is on its way.
    state: trouble?.state ?? 'recovering',
    reason: trouble?.reason ?? null,
  }
}

/** Where clients find a disk, as the NBD URI specification writes it. */
export function nbdUri(disk: string, socket: string): string {
  const name = disk.split('/').map(encodeURIComponent).join('/')
  return `nbd+unix:///${name}?socket=${encodeURIComponent(socket).replaceAll('%2F', '/')}`
}

import { constants } from 'node:fs'
import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { suitsPageCache } from './file-systems.js'
import { closeDescriptor, openKnownFile, type DeviceKind } from './open-file.js'

/** What an administrator is told of a device before it is used. */
export interface DeviceDescription {
  readonly path: string
  readonly kind: DeviceKind
  readonly sizeBytes: number
  /** As `openDevice` would use it. */
  readonly logicalBlockBytes: number
  /** Whether `openDevice` goes through the page cache. */
  readonly buffered: boolean
  /** The name below /dev/disk/by-id that follows the device to another slot; of a file its real path; null where there is none. */
  readonly stablePath: string | null
  /** Of a block device: another one means that it went away and came back. Null where the kernel does not count. */
  readonly diskSequence: number | null
}

/** Looks at a device without using it; errors as `openKnownFile`. */
export async function describeDevice(path: string): Promise<DeviceDescription> {
  const { file, kind, sizeBytes, queue } = await openKnownFile(path, constants.O_RDONLY)
  try {
    const buffered = kind === 'file' && (await suitsPageCache(file, sizeBytes))
    return {
      path,
      kind,
      sizeBytes,
      logicalBlockBytes: buffered ? SECTOR_BYTES : (queue?.logicalBlockBytes ?? 4096),
      buffered,
      stablePath: kind === 'file' ? await realpath(path) : await nameById(path),
      diskSequence: kind === 'block' ? (queue?.diskSequence ?? null) : null,
    }
  } finally {
    await closeDescriptor(file.fd)
  }
}

const BY_ID = '/dev/disk/by-id'

async function nameById(path: string): Promise<string | null> {
  const device = await realpath(path)
  const names = await readdir(BY_ID).catch(() => [])
  for (const name of names.sort()) {
    const candidate = join(BY_ID, name)
    if ((await realpath(candidate).catch(() => null)) === device) return candidate
  }
  return null
}

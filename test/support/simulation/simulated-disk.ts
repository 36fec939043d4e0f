import { SeededRandom } from '../../../src/base/random.js'
import type { Disk } from '../../../src/engine/disk/disk.js'
import { DiskOnDevice, type DiskOnDeviceOptions } from '../disk-on-device.js'
import { Scheduler } from './scheduler.js'
import { SimulatedDevice } from './simulated-device.js'
import { SimulatedOrigin } from './simulated-origin.js'

export const CHUNK_BYTES = 128 * 1024
/** Chunks of the device. */
export const CHUNKS = 16

/** One disk in write-through on a simulated device and origin; what happens when follows from a seed. */
export interface SimulatedDisk {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  readonly device: SimulatedDevice
  readonly origin: SimulatedOrigin
  readonly opened: DiskOnDevice
  readonly disk: Disk
  /** Runs the world until `work` ends. */
  readonly run: <T>(work: Promise<T>) => Promise<T>
}

interface SimulatedDiskOptions extends Pick<DiskOnDeviceOptions, 'recovered' | 'raiseEpoch'> {
  readonly diskBytes?: number
  /** Whether the device has writes that a power cut may take; drawn where it is not said. */
  readonly isBuffered?: boolean
}

export async function openSimulatedDisk(
  seed: number,
  { diskBytes = 2 ** 24, isBuffered, ...options }: SimulatedDiskOptions = {},
): Promise<SimulatedDisk> {
  const random = new SeededRandom(seed)
  const scheduler = new Scheduler(random)
  const buffered = isBuffered ?? random.below(2) === 0
  const device = new SimulatedDevice('device', CHUNKS * CHUNK_BYTES, 512, buffered, scheduler, random)
  const origin = new SimulatedOrigin(diskBytes, scheduler, random)
  const run = <T>(work: Promise<T>): Promise<T> => scheduler.run(work)
  const { defer } = scheduler
  const opened = await run(
    DiskOnDevice.open({ origin, device, chunkBytes: CHUNK_BYTES, clock: scheduler, defer, ...options }),
  )
  return { random, scheduler, device, origin, opened, disk: opened.disk, run }
}

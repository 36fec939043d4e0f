/** Objects in the pool of a cache on simulated devices, through kills and power cuts. */
import { SeededRandom } from '../../../../src/base/random.js'
import { completeObject } from '../../../../src/engine/object/complete-object.js'
import { freeObject } from '../../../../src/engine/object/free-object.js'
import { readAttributes, readStream } from '../../../../src/engine/object/read-object.js'
import type { StoredObject } from '../../../../src/engine/object/stored-object.js'
import { ObjectWriter, type ObjectTarget } from '../../../../src/engine/object/write-object.js'
import { Pool, formatDevices } from '../../../../src/engine/pool/pool.js'
import { FIRST_CHUNK_OFFSET } from '../../../../src/format/superblock.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'

export const CHUNK_BYTES = 128 * 1024
/** Payload that one chunk holds. */
export const DATA_BYTES = CHUNK_BYTES - 4096
export const VM = '0123456789abcdef'.repeat(2)
const MOST_STEPS = 200_000

export interface TestObjectsOptions {
  readonly seed?: number
  /** Chunks of each device. */
  readonly devices?: readonly number[]
  readonly logicalBlockBytes?: number
  readonly buffered?: boolean
}

export class TestObjects {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  readonly devices: readonly SimulatedDevice[]
  pool!: Pool

  private constructor(options: TestObjectsOptions) {
    const { seed = 1, devices = [24], logicalBlockBytes = 512, buffered = false } = options
    this.random = new SeededRandom(seed)
    this.scheduler = new Scheduler(this.random)
    this.devices = devices.map((chunks, index) => {
      const bytes = FIRST_CHUNK_OFFSET + chunks * CHUNK_BYTES
      return new SimulatedDevice(`device${index}`, bytes, logicalBlockBytes, buffered, this.scheduler, this.random)
    })
  }

  static async create(options: TestObjectsOptions = {}): Promise<TestObjects> {
    const test = new TestObjects(options)
    const settings = { name: 'fast', blockBytes: 4096, chunkBytes: CHUNK_BYTES, hostId: '0'.repeat(32) }
    await test.run(formatDevices(test.devices, settings, { random: test.random, clock: test.scheduler }))
    await test.open()
    return test
  }

  async open(
    options: { allowMissing: boolean; devices?: readonly SimulatedDevice[] } = { allowMissing: false },
  ): Promise<Pool> {
    return (this.pool = await this.run(Pool.open(options.devices ?? this.devices, options)))
  }

  /** An opening that may be cut short. */
  opening(): Promise<unknown> {
    return Pool.open(this.devices, { allowMissing: false })
  }

  get target(): ObjectTarget {
    return {
      cacheId: this.pool.cacheId,
      chunkBytes: CHUNK_BYTES,
      take: () => {
        const place = this.pool.takeForObject()
        if (place === undefined) throw new Error('no chunk is left')
        return Promise.resolve(this.pool.chunkAt(place))
      },
      medium: ({ device }) => Promise.resolve(device),
    }
  }

  /** Writes, verifies and seals an object. */
  async store(id: string, stream: Buffer, attributes = ''): Promise<StoredObject> {
    const writer = new ObjectWriter(this.target, {
      id,
      createdAt: this.scheduler.now(),
      attributes: Buffer.from(attributes),
    })
    try {
      await feed(writer, stream)
      const object = await completeObject(writer, { vm: VM, name: 'web01' }, () => undefined)
      this.pool.keepObject(object)
      return object
    } finally {
      await writer.settled()
      writer.release()
    }
  }

  /** Deletes an object as the engine does. */
  async remove(object: StoredObject): Promise<void> {
    const freed = await freeObject(object, this.pool.cacheId, this.scheduler.now())
    this.pool.giveOfObject(freed)
    await this.pool.dropObject(object.id)
  }

  /** What is read of an object, and whether its stream is `expected`: comparing megabytes is not for matchers. */
  async read(id: string, expected: Buffer): Promise<{ isRight: boolean; attributes: string }> {
    const object = this.pool.objects.get(id)!
    const parts: Buffer[] = []
    for await (const part of readStream(object, this.target)) parts.push(Buffer.from(part))
    const attributes = (await readAttributes(object, this.target)).toString()
    return { isRight: Buffer.concat(parts).equals(expected), attributes }
  }

  /** Runs the world until `work` ends. */
  async run<T>(work: Promise<T>): Promise<T> {
    let ended = false
    const end = (): void => void (ended = true)
    work.then(end, end)
    for (let steps = 0; !ended; steps++) {
      if (steps > MOST_STEPS) throw new Error('it never ends')
      await this.scheduler.step()
    }
    return work
  }

  /** Runs `work` for at most `steps` steps; returns whether it ended. */
  async runFor(work: Promise<unknown>, steps: number): Promise<boolean> {
    let ended = false
    const end = (): void => void (ended = true)
    work.then(end, end)
    for (let step = 0; step < steps && !ended; step++) await this.scheduler.step()
    return ended
  }

  async crash(kind: 'kill' | 'power-cut'): Promise<void> {
    for (const device of this.devices) device.failed = new Error('the process is dead')
    await this.scheduler.drop()
    for (const device of this.devices) {
      device.failed = undefined
      if (kind === 'kill') device.kill()
      else device.powerCut()
    }
  }
}

/** Bytes that tell their places apart. */
export function stamped(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at < length; at++) bytes[at] = ((at >>> 12) * 31 + (at & 0xff) + seed) & 0xff
  return bytes
}

export async function feed(writer: ObjectWriter, stream: Buffer): Promise<void> {
  for (let at = 0; at < stream.length;) {
    const { space } = writer
    const part = stream.subarray(at, at + Math.min(space.length, 50_000))
    space.set(part)
    at += part.length
    if (!writer.advance(part.length)) await new Promise<void>((resolve) => (writer.onChange = resolve))
    if (writer.failure !== undefined) throw writer.failure
  }
}

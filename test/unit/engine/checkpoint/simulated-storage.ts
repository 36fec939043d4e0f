/**
 * A file system for checkpoints that is cut short. A name that was made, moved or removed is there, or not, after a power cut, until its
 * directory was synced: each for itself, in the order in which it was done. What files hold follows the rules of simulated devices.
 */
import type { CheckpointStorage } from '../../../../src/engine/checkpoint/checkpoint-storage.js'
import { Scheduler } from '../../../support/simulation/scheduler.js'
import { SimulatedDevice } from '../../../support/simulation/simulated-device.js'
import { SeededRandom } from '../../../../src/base/random.js'

const FILE_BYTES = 2 ** 20

type Names = Map<string, SimulatedDevice>

export class SimulatedStorage {
  readonly random: SeededRandom
  readonly scheduler: Scheduler
  /** As they are seen now. */
  names: Names = new Map()
  #stable: Names = new Map()
  #pending: ((names: Names) => void)[] = []
  #life = 0

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    this.scheduler = new Scheduler(this.random)
  }

  /** The file system as a process sees it until the next crash. */
  mount(): CheckpointStorage {
    const life = this.#life
    const enter = async (): Promise<void> => {
      this.#refuseDead(life)
      await this.scheduler.delay()
      this.#refuseDead(life)
    }
    const change = (apply: (names: Names) => void): void => {
      apply(this.names)
      this.#pending.push(apply)
    }
    return {
      create: async (path) => {
        await enter()
        const file = new SimulatedDevice(path, FILE_BYTES, 4096, false, this.scheduler, this.random)
        change((names) => names.set(path, file))
        return file
      },
      open: async (path) => {
        await enter()
        return this.names.get(path) ?? gone(path)
      },
      rename: async (from, to) => {
        await enter()
        const file = this.names.get(from) ?? gone(from)
        change((names) => {
          names.delete(from)
          names.set(to, file)
        })
      },
      remove: async (path) => {
        await enter()
        if (!this.names.has(path)) gone(path)
        change((names) => names.delete(path))
      },
      makeDirectory: enter,
      syncDirectory: async () => {
        const count = this.#pending.length
        await enter()
        for (const apply of this.#pending.splice(0, count)) apply(this.#stable)
      },
      list: async (directory) => {
        await enter()
        return [...this.names.keys()].map((path) => path.slice(directory.length + 1))
      },
    }
  }

  async crash(kind: 'kill' | 'power-cut'): Promise<void> {
    this.#life++
    const files = new Set([...this.names.values(), ...this.#stable.values()])
    for (const file of files) file.failed = new Error('the process is dead')
    await this.scheduler.drop()
    for (const file of files) {
      file.failed = undefined
      if (kind === 'kill') file.kill()
      else file.powerCut()
    }
    if (kind === 'kill') return
    for (const apply of this.#pending.splice(0)) if (this.random.below(2) === 0) apply(this.#stable)
    this.names = new Map(this.#stable)
  }

  /** Runs `work` until it ends, or for so many steps. Returns whether it ended. */
  async run(work: Promise<unknown>, steps = 100_000): Promise<boolean> {
    let ended = false
    const end = (): void => void (ended = true)
    work.then(end, end)
    for (let step = 0; step < steps && !ended; step++) await this.scheduler.step()
    return ended
  }

  #refuseDead(life: number): void {
    if (life !== this.#life) throw new Error('the process is dead')
  }
}

function gone(path: string): never {
  throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' })
}

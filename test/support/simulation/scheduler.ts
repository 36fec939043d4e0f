/**
 * test/support/simulation/: one I/O thread on simulated devices, origins and clock, run from a seed.
 *
 * Everything that takes time in the world waits in the {@link Scheduler}; each step runs one of the waiting tasks, chosen at random. So all
 * orders in which completions can arrive are reached, and a run is repeated by its seed.
 */
import type { Clock } from '../../../src/base/clock.ts'
import type { SeededRandom } from '../../../src/base/random.ts'

interface Task {
  readonly run: () => void
  readonly drop: () => void
}

interface Timer {
  readonly at: number
  readonly callback: () => void
}

export class Scheduler implements Clock {
  /** One task in so many is slow: it ends long behind others that began with it; 0 for none. */
  tasksPerSlowOne = 0
  #tasks: Task[] = []
  #slow: Task[] = []
  #timers: Timer[] = []
  #milliseconds = 1_000_000
  #steps = 0

  constructor(readonly random: SeededRandom) {}

  now(): number {
    return 1_700_000_000_000 + Math.floor(this.#milliseconds)
  }

  monotonic(): number {
    return this.#milliseconds
  }

  after(milliseconds: number, callback: () => void): () => void {
    const timer = { at: this.#milliseconds + milliseconds, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer)
    }
  }

  /** Resolves when its turn comes. Rejects when the process dies first. */
  delay(): Promise<void> {
    return new Promise((resolve, reject) => {
      const isSlow = this.tasksPerSlowOne > 0 && this.random.below(this.tasksPerSlowOne) === 0
      const tasks = isSlow ? this.#slow : this.#tasks
      tasks.push({ run: resolve, drop: () => reject(new Died()) })
    })
  }

  defer = (callback: () => void): void => {
    this.#tasks.push({ run: callback, drop: () => undefined })
  }

  get idle(): boolean {
    return this.#tasks.length === 0 && this.#slow.length === 0
  }

  /** Runs one task and all that follows from it without waiting. */
  async step(): Promise<void> {
    const isForSlow = this.#slow.length > 0 && this.random.below(STEPS_PER_SLOW_TASK) === 0
    const tasks = this.#tasks.length === 0 || isForSlow ? this.#slow : this.#tasks
    if (tasks.length > 0) {
      const [task] = tasks.splice(this.random.below(tasks.length), 1)
      task!.run()
    }
    await settleMicrotasks()
    // What waits for the real event loop, such as the end of a dead process, goes on as well.
    if (++this.#steps % 32 === 0) await new Promise<void>((resolve) => setImmediate(resolve))
  }

  /** Goes on until `work` ends; time passes where there is nothing else to do. */
  async run<T>(work: Promise<T>): Promise<T> {
    let ended = false
    const end = (): void => void (ended = true)
    work.then(end, end)
    for (let steps = 0; !ended; steps++) {
      if (steps > MOST_STEPS) throw new Error('it never ends')
      if (this.idle) await this.advance(IDLE_MILLISECONDS)
      await this.step()
    }
    return work
  }

  /** Lets time pass; timers that fall due run in order. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#milliseconds + milliseconds
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#timers = this.#timers.filter((each) => each !== due)
      this.#milliseconds = Math.max(this.#milliseconds, due.at)
      due.callback()
      await settleMicrotasks()
    }
    this.#milliseconds = end
  }

  /**
   * The process died. What waited for the world fails, so that a dead engine lets go of its memory; the world must answer nothing that it
   * asks in doing so.
   */
  async drop(): Promise<void> {
    this.#timers = []
    while (!this.idle) {
      for (const task of [...this.#tasks.splice(0), ...this.#slow.splice(0)]) task.drop()
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    await new Promise<void>((resolve) => setImmediate(resolve))
    this.#timers = []
    this.#tasks = []
    this.#slow = []
  }
}

/** Of what {@link Scheduler.run} waits for. */
const MOST_STEPS = 1_000_000
/** That pass where there is nothing to do. */
const IDLE_MILLISECONDS = 10

/** Slow tasks have their turn in one of so many steps, or when there are no others. */
const STEPS_PER_SLOW_TASK = 64

/** What a request of a dead process gets. */
export class Died extends Error {
  override readonly name = 'Died'
}

/** Turns of the microtask queue that a step leaves to what it set off; what takes longer goes on beside the next steps. */
const TURNS = 24

async function settleMicrotasks(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await Promise.resolve()
}

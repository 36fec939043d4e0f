import { SeededRandom } from '../../../src/base/random.ts'
import type { Mode } from '../../../src/model/mode.ts'
import type { WriteBackSettings } from '../../../src/model/write-back.ts'

/** What may go wrong in a world. Each world has some of it, some of them often: what every world has meets little else. */
export const FAULTS = [
  'origin fails writes',
  'origin fails reads',
  'origin reconnects',
  'origin refuses',
  'origin hangs',
  'device fails',
  'bits rot',
] as const
export type Fault = (typeof FAULTS)[number]

/** Requests of each kind among as many as all of them together; a kind that is not there does not come. */
export type RequestMix = Readonly<Partial<Record<RequestKind, number>>>
export type RequestKind =
  'read' | 'write' | 'flush' | 'zero' | 'prefetch' | 'invalidate' | 'allocation' | 'hold' | 'mode'

export const USUAL_MIX = {
  ...{ read: 40, write: 39, flush: 8, zero: 5, prefetch: 1 },
  ...{ invalidate: 1, allocation: 2, hold: 1, mode: 3 },
} satisfies RequestMix

/** What is given of a disk and of whoever uses it; what is not, follows from the seed. */
export interface GuestHabits {
  readonly mix?: RequestMix
  /** Its mode at first, and for good where it is steady. */
  readonly mode?: Mode
  readonly isSteady?: boolean
  /** It has one busy place. */
  readonly isNarrow?: boolean
  readonly blockPages?: number
  readonly maximumChunks?: number
  readonly writeBack?: Partial<WriteBackSettings>
}

/** What is given of a world; what is not, follows from the seed. */
export interface WorldHabits extends GuestHabits {
  readonly isHasty?: boolean
  /** One that is named more than once comes more often. */
  readonly faults?: readonly Fault[]
  /** One fault comes with so many requests. */
  readonly requestsPerFault?: number
  readonly isTimeless?: boolean
  /** Milliseconds that pass now and then. */
  readonly pauses?: readonly number[]
  readonly tasksPerSlowOne?: number
  /** There is one device, as small as can be. */
  readonly isTight?: boolean
  /** How lives end, but for the last. */
  readonly ending?: 'close' | 'kill' | 'power-cut'
}

/** What was drawn, unless something else is given: all that is drawn behind it stays the same. */
export function given<Value>(wanted: Value | undefined, drawn: Value): Value {
  return wanted ?? drawn
}

/** Habits for a fresh seed: none for every other one, else a few at random, as what is done seldom by all is never done much by one. */
export function habitsOf(seed: number): WorldHabits {
  const random = new SeededRandom(seed)
  if (random.below(2) === 0) return {}
  const any = <Value>(values: readonly Value[]): Value => values[random.below(values.length)]!
  const sometimes = <Value>(value: () => Value): Value | undefined => (random.below(3) === 0 ? value() : undefined)
  const habits = {
    mix: sometimes(() => anyMix(random)),
    pauses: sometimes(() => any([[10], [60], [60, 35_000], [10, 10, 10, 35_000]])),
    ending: sometimes(() => any(['close', 'kill', 'power-cut'] as const)),
    tasksPerSlowOne: sometimes(() => any([3, 8])),
    faults: sometimes(() => Array.from({ length: 1 + random.below(4) }, () => any(FAULTS))),
    requestsPerFault: sometimes(() => any([5, 12])),
    maximumChunks: sometimes(() => any([8, 64])),
    mode: sometimes(() => any(['write-through', 'write-back', 'write-around'] as const)),
    writeBack: sometimes(() => ({ dirtyLowBytes: any([0, 2 ** 22]), dirtyHighBytes: any([2 ** 17, 2 ** 23]) })),
  }
  // What is not given is left out, as the types demand.
  return Object.fromEntries(Object.entries(habits).filter(([, value]) => value !== undefined))
}

/** Each kind as often as usual, far more often, or never. */
function anyMix(random: SeededRandom): RequestMix {
  const mix: Partial<Record<RequestKind, number>> = {}
  for (const [kind, share] of Object.entries(USUAL_MIX) as [RequestKind, number][]) {
    mix[kind] = share * [0, 1, 1, 4][random.below(4)]!
  }
  return { ...mix, write: mix.write === 0 ? USUAL_MIX.write : mix.write! }
}

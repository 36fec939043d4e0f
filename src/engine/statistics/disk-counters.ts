/**
 * engine/statistics/: what is counted of disks and caches, and how it is told: counters in shared memory, windows over
 * them, metrics in Prometheus text format.
 *
 * The I/O thread that serves a disk counts, alone; the main thread reads when it likes. Counters only rise, until the
 * disk is detached.
 */
import { LatencyHistogram } from '../../base/histogram.js'

const COUNTER_NAMES = [
  'reads',
  'writes',
  'flushes',
  'readBytes',
  'writtenBytes',
  'readHits',
  'writeHits',
  'originReads',
  'originWrites',
  'evictions',
  'reinsertions',
  'deviceReadBytes',
  'deviceWrittenBytes',
  'admittedBytes',
  'relocatedBytes',
  'barriers',
  'originBarriers',
  'scrubbedPages',
  'repairedPages',
] as const
const LATENCY_NAMES = ['read', 'write', 'flush'] as const

export type CounterName = (typeof COUNTER_NAMES)[number]
type LatencyName = (typeof LATENCY_NAMES)[number]

/**
 * Places of the counters, for {@link DiskCounters.add}: requests (`reads`, `writes`, `flushes`) and their bytes; requests
 * answered from the cache alone (`readHits`), writes to pages that were cached (`writeHits`); requests sent to the
 * origin; pages dropped (`evictions`) and appended again (`reinsertions`); bytes read from and written to the cache device;
 * bytes that a guest wrote or a miss filled into the log (`admittedBytes`), and of pages that were appended again (`relocatedBytes`);
 * in write-back, flushes and FUA that made something stable (`barriers`), and how many of them the origin has passed (`originBarriers`);
 * pages that scrubs read back (`scrubbedPages`), and bad ones of these that were read from the origin again (`repairedPages`).
 */
export const COUNTER = Object.fromEntries(COUNTER_NAMES.map((name, place) => [name, place])) as Readonly<
  Record<CounterName, number>
>

/** One after the other in one buffer: all counters, then the three histograms; numbers of 8 bytes. */
const LENGTH = COUNTER_NAMES.length + LATENCY_NAMES.length * LatencyHistogram.LENGTH

export class DiskCounters {
  /** All numbers; the layout is this file's secret but for {@link COUNTER}. */
  readonly numbers: Float64Array
  readonly read: LatencyHistogram
  readonly write: LatencyHistogram
  readonly flush: LatencyHistogram

  /** Counters at zero in shared memory; `buffer` goes to the thread that counts. */
  static create(): DiskCounters & { readonly buffer: SharedArrayBuffer } {
    const buffer = new SharedArrayBuffer(LENGTH * Float64Array.BYTES_PER_ELEMENT)
    return Object.assign(new DiskCounters(buffer), { buffer })
  }

  /** A view of counters: those of another thread, or a copy or difference of them. */
  constructor(numbers: SharedArrayBuffer | Float64Array) {
    this.numbers = numbers instanceof Float64Array ? numbers : new Float64Array(numbers, 0, LENGTH)
    const histogram = (name: LatencyName): LatencyHistogram => {
      const start = COUNTER_NAMES.length + LATENCY_NAMES.indexOf(name) * LatencyHistogram.LENGTH
      return new LatencyHistogram(this.numbers.subarray(start, start + LatencyHistogram.LENGTH))
    }
    this.read = histogram('read')
    this.write = histogram('write')
    this.flush = histogram('flush')
  }

  /** Allocates nothing: `counters.add(COUNTER.readBytes, length)`. */
  add(counter: number, amount: number): void {
    this.numbers[counter]! += amount
  }

  get(name: CounterName): number {
    return this.numbers[COUNTER[name]]!
  }
}

/** The sum of what several threads counted for one disk, as it is now. */
export function sumOf(counters: readonly DiskCounters[]): DiskCounters {
  const sum = new Float64Array(LENGTH)
  for (const { numbers } of counters) for (let place = 0; place < LENGTH; place++) sum[place]! += numbers[place]!
  return new DiskCounters(sum)
}

/** What was counted between two states of the same counters. */
export function difference(later: DiskCounters, earlier: DiskCounters): DiskCounters {
  return new DiskCounters(later.numbers.map((number, place) => number - earlier.numbers[place]!))
}

/**
 * Latencies counted in buckets that grow with the value: sixteen to a power of two, so the middle of a bucket is within
 * 1/32 of every value in it. Range 1 us to 60 s; what is longer is counted as 60 s, what is shorter is within 1/32 us.
 *
 * The counts may lie in shared memory: one thread records, others read. A reader may miss the latest few records; it
 * never sees half a number, for an aligned number of 8 bytes is loaded whole on the machines that vmcache runs on.
 */
const STEPS = 16
const STEP_BITS = 4
const LONGEST_MICROSECONDS = 60_000_000
const BUCKETS = bucketOf(LONGEST_MICROSECONDS) + 1
/** The slot behind the buckets: the sum of all values in microseconds. */
const SUM = BUCKETS

export class LatencyHistogram {
  /** Numbers that a histogram needs. */
  static readonly LENGTH = BUCKETS + 1

  constructor(readonly counts: Float64Array = new Float64Array(LatencyHistogram.LENGTH)) {}

  /** Counts one value. Allocates nothing. */
  record(microseconds: number): void {
    const value = microseconds < LONGEST_MICROSECONDS ? microseconds : LONGEST_MICROSECONDS
    this.counts[bucketOf(value)]!++
    this.counts[SUM]! += value
  }

  get total(): number {
    let total = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) total += this.counts[bucket]!
    return total
  }

  get sumMicroseconds(): number {
    return this.counts[SUM]!
  }

  /** The value that `share` (0..1) of all values do not exceed, to 1/32; null without values. */
  percentile(share: number): number | null {
    let missing = Math.max(1, Math.ceil(share * this.total))
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      missing -= this.counts[bucket]!
      if (missing <= 0) return (startOf(bucket) + startOf(bucket + 1)) / 2
    }
    return null
  }

  /** How many values are below `microseconds`; exact for a power of two from 1 up. */
  below(microseconds: number): number {
    const end = microseconds > LONGEST_MICROSECONDS ? BUCKETS : bucketOf(microseconds)
    let count = 0
    for (let bucket = 0; bucket < end; bucket++) count += this.counts[bucket]!
    return count
  }
}

/** Sixteenths of a microsecond below 1 us; above, the four bits that follow the highest one choose the step. */
function bucketOf(microseconds: number): number {
  const units = (microseconds * STEPS) | 0
  if (units < STEPS) return units < 0 ? 0 : units
  const shift = 31 - Math.clz32(units) - STEP_BITS
  return (shift << STEP_BITS) + (units >> shift)
}

/** Lowest value of a bucket in microseconds. */
function startOf(bucket: number): number {
  if (bucket < STEPS) return bucket / STEPS
  const shift = (bucket >> STEP_BITS) - 1
  return ((bucket - (shift << STEP_BITS)) * 2 ** shift) / STEPS
}

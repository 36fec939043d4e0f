/** Data of one span of the destage, at most about; it is held in memory while it is sent. */
const SPAN_BYTES = 16 * 1024 * 1024
/** Buffers that a thread keeps for whichever of its disks has something to send next. */
const MOST_SPARE = 2

const spare: Buffer[] = []

/** A buffer for one span, with whatever was in it. Give it back with {@link releaseSpanMemory}. */
export function spanMemory(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(SPAN_BYTES)
}

/** Nothing of `buffer` is on its way to an origin any more. */
export function releaseSpanMemory(buffer: Buffer): void {
  if (spare.length < MOST_SPARE) spare.push(buffer)
}

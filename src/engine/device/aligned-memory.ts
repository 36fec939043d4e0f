import { assert } from '../../base/assert.js'

/** What TypeScript's server-side library does not declare. */
declare const WebAssembly: {
  Memory: new (limits: { initial: number; maximum: number; shared: true }) => {
    readonly buffer: SharedArrayBuffer
    grow(pages: number): number
  }
}

/** Unit of growth of WebAssembly memory. */
const WASM_PAGE_BYTES = 65536
const MAXIMUM_WASM_PAGES = 32768
/** Alignment that every device accepts for direct I/O. */
const ALIGNMENT_BYTES = 4096

/**
 * The thread's page-aligned memory. JavaScript's own buffers are aligned to 16 bytes, which direct I/O refuses;
 * WebAssembly's shared memory is aligned to 64 KiB and never moves when it grows.
 */
let memory: InstanceType<typeof WebAssembly.Memory> | undefined
let usedBytes = 0
const free = new Map<number, Buffer[]>()

/** A page-aligned buffer, filled with zeroes or with what was in it. Give it back with {@link releaseAligned}. */
export function alignedBuffer(bytes: number): Buffer {
  assert(bytes > 0 && bytes % ALIGNMENT_BYTES === 0, 'aligned buffers are made of whole pages')
  const released = free.get(bytes)?.pop()
  if (released !== undefined) return released
  memory ??= new WebAssembly.Memory({ initial: 0, maximum: MAXIMUM_WASM_PAGES, shared: true })
  const missing = usedBytes + bytes - memory.buffer.byteLength
  if (missing > 0) memory.grow(Math.ceil(missing / WASM_PAGE_BYTES))
  const buffer = Buffer.from(memory.buffer, usedBytes, bytes)
  usedBytes += bytes
  return buffer
}

/** Nobody uses `buffer`, which came from {@link alignedBuffer}, any more; the next call of that size gets it. */
export function releaseAligned(buffer: Buffer): void {
  const buffers = free.get(buffer.length)
  if (buffers === undefined) free.set(buffer.length, [buffer])
  else buffers.push(buffer)
}

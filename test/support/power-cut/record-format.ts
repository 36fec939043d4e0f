/**
 * test/support/power-cut/: what a power cut leaves of the files of a real engine.
 *
 * The *recorder* runs inside the engine process and writes down every call that changes or syncs a watched file (cache devices, a file
 * origin), with its bytes and the moments at which it began and ended. A *cut* is a moment of that record; the *storage model* says which
 * bytes are on the medium then for certain and which may be; a *crash image* is one choice of them. A *life* is the time of one engine: it begins
 * with a crash image (or an empty cache) and ends with SIGKILL. The *history* is what the client of the disk sent and was answered, on the same clock
 * (CLOCK_MONOTONIC, which is one for all processes and threads).
 *
 * This file: the record, written by one module (as JavaScript, in each thread of the engine) and read by another.
 *
 *   0      4      5      6      8        12      16            24       32       40
 *   | magic | call | file | zero | number | bytes | nanoseconds | offset | length | data ...
 *
 * A call that began has its number in its thread and its data; its end has the same number, no data, and the result in `length`.
 */
export const RECORD_MAGIC = 0x5043_5243
export const RECORD_BYTES = 40

/** Values of `call`. */
export const CALL = {
  /** The end of a call. */
  ended: 0,
  /** Bytes into the page cache, or with O_DIRECT to the device. */
  write: 1,
  /** pwritev2 with RWF_DSYNC. */
  durableWrite: 2,
  /** fallocate that makes zeroes of a range. */
  zeroes: 3,
  /** sync_file_range that waits before and after: the range has been sent to the device, whose cache may hold it. */
  push: 4,
  /** fsync or fdatasync. */
  sync: 5,
} as const

/** Environment of the recorder. */
export const RECORDER = {
  /** Directory that gets one file per thread. */
  directory: 'VMCACHE_RECORD_DIRECTORY',
  /** Paths of the watched files, as a JSON array; they exist. */
  files: 'VMCACHE_RECORD_FILES',
  /** The boot id that the process sees. */
  bootId: 'VMCACHE_RECORD_BOOT_ID',
  /** How many times as fast the monotonic clock of the I/O threads runs. */
  haste: 'VMCACHE_RECORD_HASTE',
  /** A file below the directory from which koffi is resolved. */
  packageFile: 'VMCACHE_RECORD_PACKAGE',
} as const

import { readFileSync } from 'node:fs'
import { checked, systemCall } from './libc.js'

const CLOCK_BOOTTIME = 7

const clockGettime = systemCall<[number, Uint8Array]>('clock_gettime', ['int', 'void *'], 'int')
const timespec = Buffer.alloc(16)

/** Milliseconds since the machine was booted, the time it was suspended included: what leases are counted on. */
export function bootTimeMilliseconds(): number {
  checked(clockGettime.now(CLOCK_BOOTTIME, timespec), 'clock_gettime', 'CLOCK_BOOTTIME')
  return Number(timespec.readBigInt64LE(0)) * 1000 + Number(timespec.readBigInt64LE(8)) / 1e6
}

/** The id of this boot: 32 lower-case hexadecimal digits. Another one means that the page cache was lost. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().replaceAll('-', '')
}

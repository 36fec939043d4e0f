import { VmcacheError, type ErrorCode } from './errors.js'

/**
 * Sizes, durations and percentages as people type and read them. A unit of size is a power of 1024 both ways: what was
 * typed as `10g` is shown as `10 GB`. Numbers are whole and in ASCII digits; nothing is rounded on the way in.
 */
const SIZE_UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB', 'EB'] as const
const SECONDS_PER = { s: 1, m: 60, h: 3600, d: 86_400 } as const

const SIZE = /^(0|[1-9][0-9]*)(?:([kmgt])(?:ib)?)?$/i
const DURATION = /^(0|[1-9][0-9]*)([smhd])$/
const PERCENT = /^(0|[1-9][0-9]*)%$/

/** Bytes of `512`, `4k`, `16m`, `10g`, `1t`, either case, with `iB` or without. BAD_SIZE for anything else. */
export function parseSize(text: string): number {
  const match = SIZE.exec(text)
  if (match === null)
    throw bad('BAD_SIZE', 'a size', text, 'a whole number with k, m, g or t, such as 512, 4k, 16m or 10g')
  const power = match[2] === undefined ? 0 : 'kmgt'.indexOf(match[2].toLowerCase()) + 1
  const bytes = Number(match[1]) * 1024 ** power
  if (!Number.isSafeInteger(bytes))
    throw bad('BAD_SIZE', 'a size', text, `at most ${Number.MAX_SAFE_INTEGER} bytes (8191t)`)
  return bytes
}

/** Seconds of `30s`, `10m`, `1h`, `2d`. BAD_DURATION for anything else. */
export function parseDuration(text: string): number {
  const match = DURATION.exec(text)
  if (match === null)
    throw bad('BAD_DURATION', 'a duration', text, 'a whole number with s, m, h or d, such as 30s, 10m, 1h or 2d')
  const seconds = Number(match[1]) * SECONDS_PER[match[2] as keyof typeof SECONDS_PER]
  // Milliseconds of it must be exact too: timers and the clock count those.
  if (!Number.isSafeInteger(seconds * 1000)) throw bad('BAD_DURATION', 'a duration', text, 'at most 104249991d')
  return seconds
}

/** The share 0..1 of `0%` to `100%`. USAGE for anything else. */
export function parsePercent(text: string): number {
  const match = PERCENT.exec(text)
  if (match === null || Number(match[1]) > 100) {
    throw bad('USAGE', 'a percentage', text, 'a whole number from 0% to 100%, such as 20%')
  }
  return Number(match[1]) / 100
}

/** Bytes for people: `0`, `512 B`, `1.2 GB`, `480 GB`. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return '0'
  let value = bytes
  let unit = 0
  // What would round to 1024 of a unit is 1 of the next.
  while (Math.round(value) >= 1024 && unit < SIZE_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${shortNumber(value)} ${SIZE_UNITS[unit]}`
}

/** Seconds for people, rounded down: `38 s`, `9 min`, `5 h`, `12 d`; two of the next unit are needed to use it. */
export function formatDuration(seconds: number): string {
  if (seconds < 120) return `${Math.floor(seconds)} s`
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} d`
}

/** Microseconds for people: `62 us`, `1.1 ms`, `2 s`. */
export function formatMicroseconds(microseconds: number): string {
  if (Math.round(microseconds) < 1000) return `${shortNumber(microseconds)} us`
  if (Math.round(microseconds / 1000) < 1000) return `${shortNumber(microseconds / 1000)} ms`
  return `${shortNumber(microseconds / 1_000_000)} s`
}

/** A count for people: whole up to 99999, then `123 k`, `1.2 M`, `15 G`. */
export function formatCount(count: number): string {
  if (Math.round(count) < 100_000) return count < 10 ? shortNumber(count) : String(Math.round(count))
  let value = count / 1000
  let unit = 0
  while (Math.round(value) >= 1000 && unit < 2) {
    value /= 1000
    unit++
  }
  return `${shortNumber(value)} ${'kMG'[unit]}`
}

/** A share 0..1 for people: `94 %`. Only nothing is `0 %` and only all is `100 %`. */
export function formatRatio(ratio: number): string {
  const percent = Math.round(ratio * 100)
  if (percent === 0 && ratio > 0) return '<1 %'
  if (percent === 100 && ratio < 1) return '>99 %'
  return `${percent} %`
}

/** Two significant digits below ten, else a whole number. */
function shortNumber(value: number): string {
  const tenths = Math.round(value * 10)
  return tenths < 100 ? String(tenths / 10) : String(Math.round(value))
}

function bad(code: ErrorCode, what: string, seen: string, expected: string): VmcacheError {
  const shown = JSON.stringify(seen.length > 40 ? `${seen.slice(0, 40)}...` : seen)
  return new VmcacheError(code, `${shown} is not ${what}: expected ${expected}`, { details: { seen, expected } })
}

/**
 * cli/views/: JSON documents as text for people: tables for lists, `label  value` lines for one object. No I/O.
 */
import { formatDuration, formatRatio, formatSize } from '../../base/units.js'
import type { Paint } from '../paint.js'

export const NONE = '-'

export function orNone<T>(value: T | null, format: (value: T) => string = String): string {
  return value === null ? NONE : format(value)
}

export const age = (seconds: number | null): string => orNone(seconds, formatDuration)
export const ratio = (value: number | null): string => orNone(value, formatRatio)

/** Dirty data: nothing stands out, something is a warning. */
export function dirty(bytes: number, paint: Paint): string {
  return bytes === 0 ? '0' : paint.warning(formatSize(bytes))
}

/** Local time to the second: `2026-11-20 03:04:05`. */
export function localTime(at: string): string {
  const time = new Date(at)
  const two = (value: number): string => String(value).padStart(2, '0')
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-')
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`
}

const WEEKDAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']

/** Local time for what is about now: `Mon 02:13`. */
export function weekdayTime(at: string): string {
  return `${WEEKDAYS[new Date(at).getDay()]} ${localTime(at).slice(-8, -3)}`
}

/** Time since `at`. */
export function since(at: string, now: number): string {
  return formatDuration(Math.max(0, (now - Date.parse(at)) / 1000))
}

/** `1 disk`, `2 disks`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

const GOOD = ['open', 'serving', 'ok', 'running', 'suspended', 'done']
const BAD = ['failed', 'missing', 'failure', 'changed']

/** A state in its colour: what needs somebody is red, what is not as wished is yellow. */
export function state(word: string, paint: Paint): string {
  if (GOOD.includes(word)) return paint.good(word)
  return BAD.includes(word) ? paint.bad(word) : paint.warning(word)
}

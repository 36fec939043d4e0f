import { Cron } from 'croner'
import { messageOf, VmcacheError } from '../base/errors.js'

/** The five fields of cron (minute, hour, day, month, weekday) in a time zone: `0 22 * * 1-5`. */
export interface Schedule {
  readonly expression: string
  /** `Europe/Berlin`; null for that of the engine. */
  readonly timeZone: string | null
}

/** The first time of a schedule after a time, both in milliseconds since 1970; null where none comes. USAGE where it is none. */
export function nextTime({ expression, timeZone }: Schedule, after: number): number | null {
  checkZone(timeZone)
  try {
    const cron = new Cron(expression, {
      paused: true,
      mode: '5-part',
      ...(timeZone === null ? {} : { timezone: timeZone }),
    })
    return cron.nextRun(new Date(after))?.getTime() ?? null
  } catch (error) {
    const fields = expression.trim().split(/\s+/).length
    const why = fields === 5 ? messageOf(error).replace(/^Cron\w+: /, '') : `5 fields are expected, it has ${fields}`
    throw new VmcacheError('USAGE', `${JSON.stringify(expression)} is no schedule: ${why}`, {
      hint: 'write minute, hour, day of the month, month and weekday as cron does, such as "0 22 * * 1-5"',
    })
  }
}

function checkZone(timeZone: string | null): void {
  if (timeZone === null) return
  try {
    new Intl.DateTimeFormat('en', { timeZone })
  } catch {
    throw new VmcacheError('USAGE', `${JSON.stringify(timeZone)} is no time zone`, {
      hint: 'time zones are called as in /usr/share/zoneinfo, such as Europe/Berlin',
    })
  }
}

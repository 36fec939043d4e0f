import { custom } from '@oclif/core/flags'
import { VmcacheError } from '../base/errors.js'
import { countFlag } from './flags.js'

const PER_HOUR = /^([1-9][0-9]{0,5})\/h$/

/** A flag that takes so many an hour (`20/h`). */
const rateFlag = custom<number>({
  parse: async (text) => {
    const match = PER_HOUR.exec(text)
    if (match !== null) return Number(match[1])
    throw new VmcacheError('USAGE', `${JSON.stringify(text)} is not a rate: expected so many an hour, such as 20/h`, {
      details: { seen: text },
    })
  },
  helpValue: 'N/h',
})

/** How fast many VMs are suspended or resumed. */
export const paceFlags = {
  rate: rateFlag({ summary: 'Begin with so many in an hour at most; the others wait.' }),
  'at-once': countFlag({ minimum: 1, maximum: 1000, summary: 'So many at a time; 4 where not given.' }),
}

/** What a request says of it. */
export function paceOf(flags: { readonly rate?: number | undefined; readonly 'at-once'?: number | undefined }) {
  return { perHour: flags.rate ?? null, atOnce: flags['at-once'] ?? null }
}

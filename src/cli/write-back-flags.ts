import { custom, option } from '@oclif/core/flags'
import { parseSize } from '../base/units.js'
import { DESTAGE_BARRIERS, DESTAGE_ORDERS, type WriteBackSettings } from '../model/write-back.js'
import { durationFlag } from './flags.js'

/** What a limit is set back to. */
const DEFAULT = 'default'

/** A flag that takes a size, or `default`: null, what follows from the most that the disk may use of its cache. */
const limitFlag = custom<number | null>({
  parse: async (text) => (text === DEFAULT ? null : parseSize(text)),
  helpValue: `SIZE|${DEFAULT}`,
})

/** How what is dirty goes to the origin, for `cache attach` and `policy set --disk`. */
export const writeBackFlags = {
  destage: option({
    options: DESTAGE_ORDERS,
    summary: 'Write-back: whether the origin gets what is dirty in the order of the guest, barrier by barrier.',
  })(),
  'destage-barrier': option({
    options: DESTAGE_BARRIERS,
    summary:
      'Write-back: whether the origin is flushed at each barrier, or only answers (and is flushed every second).',
  })(),
  'dirty-low': limitFlag({ summary: 'Write-back: from here on what is dirty is written to the origin at once.' }),
  'dirty-high': limitFlag({ summary: 'Write-back: writers are slowed so that less than this is dirty.' }),
  'dirty-age': durationFlag({ summary: 'Write-back: what is older is written to the origin.' }),
}

/** What the flags were given. */
export interface WriteBackFlagValues {
  readonly destage?: WriteBackSettings['order'] | undefined
  readonly 'destage-barrier'?: WriteBackSettings['barrier'] | undefined
  readonly 'dirty-low'?: number | null | undefined
  readonly 'dirty-high'?: number | null | undefined
  readonly 'dirty-age'?: number | undefined
}

/** The settings that were given. */
export function givenWriteBack(flags: WriteBackFlagValues): Partial<WriteBackSettings> {
  const { destage, 'destage-barrier': barrier, 'dirty-low': low, 'dirty-high': high, 'dirty-age': age } = flags
  return {
    ...(destage === undefined ? {} : { order: destage }),
    ...(barrier === undefined ? {} : { barrier }),
    ...(low === undefined ? {} : { dirtyLowBytes: low }),
    ...(high === undefined ? {} : { dirtyHighBytes: high }),
    ...(age === undefined ? {} : { dirtyAgeSeconds: age }),
  }
}

/** What somebody gives up who chooses these settings; null where it is nothing. */
export function givenUp({ order, barrier }: Partial<WriteBackSettings>): string | null {
  const lost = [
    ...(order === 'relaxed'
      ? [
          'with --destage relaxed the order of barriers: should the cache be lost, the origin may be in a state that the disk never had',
        ]
      : []),
    ...(barrier === 'answer'
      ? ['with --destage-barrier answer that order, where the storage loses power: it must keep it by itself']
      : []),
  ]
  return lost.length === 0 ? null : `given up ${lost.join('; and ')}`
}

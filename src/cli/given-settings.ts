import type { InferredFlags } from '@oclif/core/interfaces'
import type { GivenDiskSettings } from '../protocol/control/documents.js'
import type { diskFlags } from './flags.js'
import { maximumBytes, quotaBytes } from './quota.js'
import { givenWriteBack, type WriteBackFlagValues } from './write-back-flags.js'

type Values = Partial<InferredFlags<typeof diskFlags>> & WriteBackFlagValues

/** The settings of disks that were given on the command line. `cacheBytes` is asked for percentages alone. */
export async function givenDiskSettings(flags: Values, cacheBytes: () => Promise<number>): Promise<GivenDiskSettings> {
  const { mode, replacement, min, max, shares } = flags
  const writeBack = givenWriteBack(flags)
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(replacement === undefined ? {} : { replacement }),
    ...(min === undefined ? {} : { minBytes: await quotaBytes(min, cacheBytes) }),
    ...(max === undefined ? {} : { maxBytes: await maximumBytes(max, cacheBytes) }),
    ...(shares === undefined ? {} : { shares }),
    ...(Object.keys(writeBack).length === 0 ? {} : { writeBack }),
  }
}

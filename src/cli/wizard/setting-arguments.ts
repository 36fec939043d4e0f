import type { GivenSettings } from '../../protocol/control/documents.js'
import { typedDuration, typedSize } from './ask.js'

/** The flags that give these settings. */
export function settingArguments(settings: GivenSettings): string[] {
  const { mode, replacement, minBytes, maxBytes, shares, writeBack = {} } = settings
  const { rapidSuspend, idleTimeoutSeconds, suspendAt, resumeAt, storageAfterSeconds, timeZone } = settings
  const { order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds } = writeBack
  const texts: Record<string, string | undefined> = {
    '--mode': mode,
    '--replacement': replacement,
    '--min': typed(minBytes, typedSize),
    '--max': typed(maxBytes, typedSize, '100%'),
    '--shares': typed(shares, String),
    '--destage': order,
    '--destage-barrier': barrier,
    '--dirty-low': typed(dirtyLowBytes, typedSize, 'default'),
    '--dirty-high': typed(dirtyHighBytes, typedSize, 'default'),
    '--dirty-age': typed(dirtyAgeSeconds, typedDuration),
    '--rapid-suspend': rapidSuspend,
    '--idle-timeout': typed(idleTimeoutSeconds, typedDuration),
    '--suspend-at': typed(suspendAt, String),
    '--resume-at': typed(resumeAt, String),
    '--storage-after': typed(storageAfterSeconds, typedDuration),
    '--time-zone': typed(timeZone, String),
  }
  return Object.entries(texts).flatMap(([flag, text]) => (text === undefined ? [] : [flag, text]))
}

/** `without`: what stands for null. */
function typed<Value>(
  value: Value | null | undefined,
  text: (value: Value) => string,
  without = 'off',
): string | undefined {
  if (value === undefined) return undefined
  return value === null ? without : text(value)
}

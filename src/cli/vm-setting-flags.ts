import { option } from '@oclif/core/flags'
import type { InferredFlags } from '@oclif/core/interfaces'
import { RAPID_SUSPEND } from '../model/vm-policy.js'
import type { GivenSettings } from '../protocol/control/documents.js'
import { textOrOff, timeoutFlag } from './flags.js'

/** What is wanted of VMs, for `policy set`. */
export const vmSettingFlags = {
  'rapid-suspend': option({
    options: RAPID_SUSPEND,
    summary: 'VMs: whether room for the memory of one is kept while it runs.',
  })(),
  'idle-timeout': timeoutFlag({ summary: 'VMs: suspend one when it has been idle for so long; off: never.' }),
  'suspend-at': textOrOff({
    summary: 'VMs: suspend them at these times, whatever they do; off: never.',
    helpValue: 'CRON|off',
  }),
  'resume-at': textOrOff({
    summary: 'VMs: resume them at these times, if they are suspended; off: never.',
    helpValue: 'CRON|off',
  }),
  'storage-after': timeoutFlag({
    summary:
      'VMs: move the memory of one to storage when it has been suspended for so long, and back before its resume time; off: never.',
  }),
  'time-zone': textOrOff({
    summary: 'VMs: time zone of these times, such as Europe/Berlin; off: that of the engine.',
    helpValue: 'ZONE|off',
  }),
}

/** The settings of VMs that were given. */
export function givenVmSettings(flags: Partial<InferredFlags<typeof vmSettingFlags>>): GivenSettings {
  const { 'rapid-suspend': rapidSuspend, 'idle-timeout': idleTimeoutSeconds } = flags
  const { 'storage-after': storageAfterSeconds } = flags
  const { 'suspend-at': suspendAt, 'resume-at': resumeAt, 'time-zone': timeZone } = flags
  return {
    ...(rapidSuspend === undefined ? {} : { rapidSuspend }),
    ...(idleTimeoutSeconds === undefined ? {} : { idleTimeoutSeconds }),
    ...(suspendAt === undefined ? {} : { suspendAt }),
    ...(resumeAt === undefined ? {} : { resumeAt }),
    ...(storageAfterSeconds === undefined ? {} : { storageAfterSeconds }),
    ...(timeZone === undefined ? {} : { timeZone }),
  }
}

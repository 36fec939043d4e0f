import { formatDuration } from '../base/units.js'

/** `on`: room for the VM's memory is reserved when it starts, else it does not; `best-effort`: as much as there is. */
export const RAPID_SUSPEND = ['off', 'on', 'best-effort'] as const
export type RapidSuspend = (typeof RAPID_SUSPEND)[number]

/** What is wanted of a VM. */
export interface VmPolicy {
  readonly rapidSuspend: RapidSuspend
  /** It is suspended when it has been idle for so long; null: never. */
  readonly idleTimeoutSeconds: number | null
  /** When it is suspended, and resumed: as cron says it, in the time zone; null: never. */
  readonly suspendAt: string | null
  readonly resumeAt: string | null
  /** Its memory goes to storage when it has been suspended for so long, and is back in the cache when it is resumed by time; null: never. */
  readonly storageAfterSeconds: number | null
  /** `Europe/Berlin`; null for that of the engine. */
  readonly timeZone: string | null
}

export const DEFAULT_VM_POLICY: VmPolicy = {
  rapidSuspend: 'off',
  idleTimeoutSeconds: null,
  suspendAt: null,
  resumeAt: null,
  storageAfterSeconds: null,
  timeZone: null,
}

/** A policy in one line for people; null where nothing is wanted. */
export function policyText({
  rapidSuspend,
  idleTimeoutSeconds,
  suspendAt,
  resumeAt,
  storageAfterSeconds,
  timeZone,
}: VmPolicy): string | null {
  const parts = [
    ...(rapidSuspend === 'off' ? [] : [`rapid suspend ${rapidSuspend}`]),
    ...(idleTimeoutSeconds === null ? [] : [`suspended when idle for ${formatDuration(idleTimeoutSeconds)}`]),
    ...(suspendAt === null ? [] : [`suspended at ${suspendAt}`]),
    ...(resumeAt === null ? [] : [`resumed at ${resumeAt}`]),
    ...(storageAfterSeconds === null ? [] : [`on storage after ${formatDuration(storageAfterSeconds)}`]),
    ...(timeZone === null ? [] : [`time zone ${timeZone}`]),
  ]
  return parts.length === 0 ? null : parts.join(', ')
}

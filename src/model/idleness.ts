/**
 * When a VM is idle: for as long as it has used less of a processor, and sent fewer requests to its disks, than the limits say in every
 * stretch of a minute, and nobody looked at its console.
 */

/** What a running VM has done since it was started. */
export interface VmLoad {
  /** Time of host processors, of all its threads. */
  readonly cpuSeconds: number
  /** Reads, writes and flushes of its disks. */
  readonly diskRequests: number
}

export interface ActivitySample extends VmLoad {
  /** Milliseconds on a clock that only ever rises. */
  readonly at: number
  /** Kinds of consoles that somebody has open: `VNC`, `SPICE`. */
  readonly consoles: readonly string[]
}

export interface IdleLimits {
  /** Percent of one processor. */
  readonly processorPercent: number
  readonly requestsPerMinute: number
}

/** What is known of a VM's activity. */
export interface Activity {
  /** Of the last minute and little more, oldest first; never empty. */
  readonly samples: readonly ActivitySample[]
  /** Since when it is idle, on the clock of the samples. */
  readonly idleSince: number
  /** What keeps it awake; empty where it is idle. */
  readonly awake: readonly string[]
}

const MINUTE_MILLISECONDS = 60_000

/** What is known with one sample more; `before` is null where it is the first since the VM was started, or since somebody looks. */
export function observeActivity(before: Activity | null, sample: ActivitySample, limits: IdleLimits): Activity {
  const last = before?.samples.at(-1)
  if (before === null || last === undefined || isRestart(last, sample)) {
    return { samples: [sample], idleSince: sample.at, awake: openConsoles(sample) }
  }
  // A minute, and what it takes to begin it with a sample.
  const isNeeded = (index: number) => (before.samples[index + 1]?.at ?? sample.at) > sample.at - MINUTE_MILLISECONDS
  const samples = [...before.samples.filter((_, index) => isNeeded(index)), sample]
  return { samples, ...idleBegin(samples, before.idleSince, limits) }
}

/** Whether less was done than before: by a VM that was started anew. */
function isRestart(last: VmLoad, now: VmLoad): boolean {
  return now.cpuSeconds < last.cpuSeconds || now.diskRequests < last.diskRequests
}

/** The earliest begin, not before `since`, of a stretch up to the newest sample in which the VM was idle. */
function idleBegin(
  samples: readonly ActivitySample[],
  since: number,
  limits: IdleLimits,
): Pick<Activity, 'idleSince' | 'awake'> {
  const newest = samples.at(-1)!
  const consoles = openConsoles(newest)
  if (consoles.length > 0) return { idleSince: newest.at, awake: consoles }
  let idleSince = since
  let awake: readonly string[] = []
  for (const [index, sample] of samples.slice(0, -1).entries()) {
    const reasons = reasonsBetween(sample, newest, limits)
    if (awake.length === 0) awake = reasons
    if (sample.at < idleSince) continue
    if (reasons.length === 0) break
    idleSince = samples[index + 1]!.at
  }
  return { idleSince, awake }
}

function reasonsBetween(from: ActivitySample, to: ActivitySample, limits: IdleLimits): string[] {
  const seconds = (to.at - from.at) / 1000
  const percent = ((to.cpuSeconds - from.cpuSeconds) / seconds) * 100
  // What came in less than a minute came in a minute.
  const requests = Math.round((to.diskRequests - from.diskRequests) / Math.max(1, seconds / 60))
  const { processorPercent, requestsPerMinute } = limits
  return [
    ...(percent < processorPercent ? [] : [`processor ${percent.toFixed(0)} %, idle is under ${processorPercent} %`]),
    ...(requests < requestsPerMinute ? [] : [`${requests} disk requests a minute, idle is under ${requestsPerMinute}`]),
  ]
}

function openConsoles({ consoles }: ActivitySample): string[] {
  return consoles.map((kind) => `a console is open (${kind})`)
}

/** Part of the time in which the devices are read, where guests are served and where nobody is. */
const BUSY_SHARE = 1 / 10
const IDLE_SHARE = 1 / 2
/** Pauses are at least so long: a device that answers at once has other work to do as well. */
const BUSY_PAUSE_MILLISECONDS = 20
const IDLE_PAUSE_MILLISECONDS = 1

/** How the last slice went. */
export interface ScrubbedTime {
  readonly milliseconds: number
  readonly bytes: number
  /** Whether a guest asked for anything since the slice before. */
  readonly isBusy: boolean
  /** Most bytes a second that were asked for; null for as many as is polite. */
  readonly bytesPerSecond: number | null
}

/**
 * Milliseconds to wait before the next slice. A share of the time and not of the bytes: where guests make the device slow, the scrub slows
 * down with it.
 */
export function pauseAfter({ milliseconds, bytes, isBusy, bytesPerSecond }: ScrubbedTime): number {
  const share = isBusy ? BUSY_SHARE : IDLE_SHARE
  const least = isBusy ? BUSY_PAUSE_MILLISECONDS : IDLE_PAUSE_MILLISECONDS
  const polite = Math.max(least, milliseconds * (1 / share - 1))
  if (bytesPerSecond === null) return polite
  return Math.max(polite, (bytes / bytesPerSecond) * 1000 - milliseconds)
}

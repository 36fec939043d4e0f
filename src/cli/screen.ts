import { systemClock } from '../base/clock.js'
import { loadPaint, wantsColour, type Paint } from './paint.js'

/** Where text for people goes: how wide it may be, in which colours, and at what time it is read. */
export interface Screen {
  /** Columns; null where nothing is cut (a pipe, a file). */
  readonly width: number | null
  readonly paint: Paint
  /** Milliseconds since 1970, for ages. */
  readonly now: number
}

/** The screen behind an output stream. */
export async function screenOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  noColour: boolean,
): Promise<Screen> {
  return {
    width: stream.isTTY === true ? (stream.columns ?? 80) : null,
    paint: await loadPaint(wantsColour(stream, noColour, process.env)),
    now: systemClock.now(),
  }
}

/** Cache modes of a disk. */
export const MODES = ['write-through', 'write-back', 'write-around', 'pass-through'] as const
export type Mode = (typeof MODES)[number]
export const DEFAULT_MODE: Mode = 'write-through'

export function isMode(text: string): text is Mode {
  return (MODES as readonly string[]).includes(text)
}

/** What the user asked for, what the disk does now, and why they differ (`null` where they do not). */
export interface ModeState {
  wanted: Mode
  inForce: Mode
  reason: string | null
}

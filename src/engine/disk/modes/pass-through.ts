import type { ModePath } from './mode-path.js'

/** Everything goes to the origin and nothing is cached: the disk has no log. */
export const passThrough: ModePath = {
  mode: 'pass-through',
  logs: false,
  writesBack: false,
  recordsData: () => false,
  record: () => [],
}

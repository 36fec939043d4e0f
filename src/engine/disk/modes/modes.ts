import type { Mode } from '../../../model/mode.js'
import type { ModePath } from './mode-path.js'
import { passThrough } from './pass-through.js'
import { writeAround } from './write-around.js'
import { writeBack } from './write-back.js'
import { writeThrough } from './write-through.js'

export const MODE_PATHS: Readonly<Record<Mode, ModePath>> = {
  'write-through': writeThrough,
  'write-back': writeBack,
  'write-around': writeAround,
  'pass-through': passThrough,
}

import { VmcacheError } from '../base/errors.js'
import { IMAGE_FORMATS, type ImageFormat } from '../model/vm.js'
import { absoluteOrigin } from './origin.js'

/** `PATH[,format=qcow2]`: a disk of a VM, its path made absolute. USAGE where it is written otherwise. */
export function parseVmDisk(text: string): { path: string; format: ImageFormat } {
  const [path, ...options] = text.split(',')
  if (path === undefined || path === '') throw wrong(text, 'no path')
  let format: ImageFormat = 'raw'
  for (const option of options) {
    const value = /^format=(.*)$/.exec(option)?.[1]
    if (value === undefined) throw wrong(text, `option ${JSON.stringify(option)}`)
    const known = IMAGE_FORMATS.find((name) => name === value)
    if (known === undefined) throw wrong(text, `format ${JSON.stringify(value)}`)
    format = known
  }
  return { path: absoluteOrigin(path), format }
}

function wrong(text: string, problem: string): VmcacheError {
  return new VmcacheError('USAGE', `disk ${JSON.stringify(text)} is not valid: ${problem}`, {
    hint: `write PATH, or PATH,format=${IMAGE_FORMATS.join('|')}`,
  })
}

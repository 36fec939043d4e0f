import { resolve } from 'node:path'
import { VmcacheError } from '../base/errors.js'
import { parseSize } from '../base/units.js'
import type { DeviceSpecification } from '../protocol/control/documents.js'

/** `PATH[,size=SIZE]` of --device. A relative path is one of this directory, not of the engine's. */
export function parseDevice(text: string): DeviceSpecification {
  const match = /^(.*?)(?:,size=([^,]*))?$/s.exec(text)
  const path = match?.[1] ?? ''
  if (path === '') {
    throw new VmcacheError('USAGE', `${JSON.stringify(text)} is not a device: expected PATH or PATH,size=SIZE`, {
      details: { seen: text },
    })
  }
  return { path: resolve(path), sizeBytes: match?.[2] === undefined ? null : parseSize(match[2]) }
}

const DEVICE_ID = /^[0-9a-f]{32}$/

/** Path or id of a device that a cache has. A relative path is one of this directory. */
export function deviceArgument(text: string): string {
  return DEVICE_ID.test(text) ? text : resolve(text)
}

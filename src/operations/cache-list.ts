import { cacheDocument, cacheDocuments } from './cache-document.js'
import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'

export function cacheList(plane: ControlPlane): Operations['cache.list'] {
  return async () => ({ caches: cacheDocuments(plane) })
}

export function cacheShow(plane: ControlPlane): Operations['cache.show'] {
  return async ({ name }) => cacheDocument(plane, name)
}

export function deviceList(plane: ControlPlane): Operations['device.list'] {
  return async () => ({
    devices: cacheDocuments(plane).flatMap(({ name, devices }) =>
      devices.map((device) => ({ ...device, cache: name })),
    ),
  })
}

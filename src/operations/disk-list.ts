import type { ControlPlane } from './control-plane.js'
import { diskDocument, diskDocuments } from './disk-document.js'
import type { Operations } from './operation.js'

export function diskList(plane: ControlPlane): Operations['disk.list'] {
  return async () => ({ disks: await diskDocuments(plane) })
}

export function diskShow(plane: ControlPlane): Operations['disk.show'] {
  return async ({ name }) => diskDocument(plane, name)
}

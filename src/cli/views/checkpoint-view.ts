import { formatSize } from '../../base/units.js'
import type { CheckpointDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderProperties, renderTable, type Column } from '../table.js'
import { localTime, NONE, orNone } from './text.js'

/** `vmcache checkpoint list`. */
export function checkpointTable(checkpoints: readonly CheckpointDocument[], screen: Screen): Promise<string> {
  const columns: Column<CheckpointDocument>[] = [
    { head: 'VM', value: ({ vm }) => vm },
    { head: 'STATE', value: (checkpoint) => stateOf(checkpoint, screen) },
    { head: 'CACHE', value: ({ cache }) => cache ?? '(storage)' },
    { head: 'MEMORY', value: ({ bytes }) => formatSize(bytes) },
    { head: 'TAKES', value: ({ storedBytes }) => formatSize(storedBytes), spare: 2 },
    { head: 'SINCE', value: ({ createdAt }) => localTime(createdAt) },
    { head: 'WHY', value: ({ damage, why }) => damage ?? why ?? NONE, cutTo: 20, spare: 1 },
  ]
  return renderTable(columns, checkpoints, screen)
}

/** `vmcache checkpoint show`. */
export function checkpointProperties(checkpoint: CheckpointDocument, screen: Screen): string {
  const { vm, uuid, id, host, cache, path, bytes, storedBytes, createdAt, why, qemu, disks, damage } = checkpoint
  return renderProperties(
    [
      ['vm', `${screen.paint.strong(vm)} (${uuid})`],
      ['checkpoint', id],
      ['state', stateOf(checkpoint, screen)],
      ['damage', damage],
      ['because', why],
      ['since', localTime(createdAt)],
      [
        'memory',
        `${formatSize(bytes)}, takes ${formatSize(storedBytes)} of ${cache === null ? 'storage' : `cache ${cache}`} on ${host}`,
      ],
      ['file', path],
      ['written by', orNone(qemu, ({ version, machine }) => `QEMU ${version}, ${machine}`)],
      ['disks', disks.length === 0 ? NONE : disks.map(({ target, path }) => `${target} ${path}`).join(', ')],
    ],
    screen,
  )
}

/** A VM may be suspended for as long as it likes; a checkpoint that cannot be used is what somebody has to look at. */
function stateOf({ state, damage }: CheckpointDocument, { paint }: Screen): string {
  if (damage !== null) return paint.bad(state)
  return state === 'suspended' ? paint.good(state) : paint.warning(state)
}

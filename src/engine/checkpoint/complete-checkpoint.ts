import { VmcacheError } from '../../base/errors.js'
import { MAXIMUM_ATTRIBUTE_BYTES, MAXIMUM_VM_NAME_BYTES } from '../../format/object-header.js'
import type { CheckpointWatch } from '../checkpoint.js'
import { completeObject } from '../object/complete-object.js'
import type { StoredObject } from '../object/stored-object.js'
import type { ObjectWriter } from '../object/write-object.js'
import type { FilledSource } from './checkpoint-keeper.js'
import { interrupted } from './checkpoint-socket.js'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** The attributes of a checkpoint as bytes; USAGE where they, or the UUID of its VM, cannot be kept. */
export function attributesOf({ vm, attributes }: Pick<FilledSource, 'vm' | 'attributes'>): Buffer {
  if (!UUID.test(vm)) throw new VmcacheError('USAGE', `${vm} is not the UUID of a VM`)
  const bytes = Buffer.from(attributes)
  if (bytes.length <= MAXIMUM_ATTRIBUTE_BYTES) return bytes
  throw new VmcacheError(
    'USAGE',
    `the attributes of a checkpoint have ${bytes.length} bytes, at most ${MAXIMUM_ATTRIBUTE_BYTES} are kept`,
  )
}

/** Fills an object with a checkpoint, reads it back from stable storage, and seals it. */
export async function completeCheckpoint(
  writer: ObjectWriter,
  { vm, name, fill }: FilledSource,
  watch: CheckpointWatch,
): Promise<StoredObject> {
  await fill(writer, watch)
  const { streamBytes } = writer
  let verified = 0
  const whose = { vm: vm.replaceAll('-', '').toLowerCase(), name: cutText(name, MAXIMUM_VM_NAME_BYTES) }
  return completeObject(writer, whose, (bytes) => {
    if (watch.signal.aborted) throw interrupted('it was cancelled')
    watch.progress((verified += bytes), streamBytes, 'bytes', 'reading back')
  })
}

/** As much of a text as fits, in whole characters. */
function cutText(text: string, bytes: number): string {
  let cut = text
  while (Buffer.byteLength(cut) > bytes) cut = [...cut].slice(0, -1).join('')
  return cut
}

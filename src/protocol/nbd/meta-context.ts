import { MAXIMUM_STRING_BYTES } from './constants.js'
import { NbdProtocolError } from './protocol-error.js'
import { encodeCountedString, FieldReader } from './wire.js'

/*  Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT:
 *  | name length (32) | export name | count (32) | count x (length (32), query)
 */
export interface MetaContextRequest {
  readonly exportName: string
  readonly queries: readonly string[]
}

export function encodeMetaContextRequest(request: MetaContextRequest): Buffer {
  const count = Buffer.allocUnsafe(4)
  count.writeUInt32BE(request.queries.length, 0)
  return Buffer.concat([encodeCountedString(request.exportName), count, ...request.queries.map(encodeCountedString)])
}

export function decodeMetaContextRequest(data: Buffer): MetaContextRequest {
  const reader = new FieldReader(data)
  const exportName = reader.countedString()
  const count = reader.uint32()
  if (count * 4 > reader.remaining) throw new NbdProtocolError(`${count} queries in ${reader.remaining} bytes`)
  const queries = Array.from({ length: count }, () => reader.countedString())
  reader.end()
  return { exportName, queries }
}

/*  Data of NBD_REP_META_CONTEXT: | context id (32) | name ... */
export interface MetaContext {
  readonly id: number
  readonly name: string
}

export function encodeMetaContext(context: MetaContext): Buffer {
  const name = Buffer.from(context.name, 'utf8')
  const data = Buffer.allocUnsafe(4 + name.length)
  data.writeUInt32BE(context.id, 0)
  name.copy(data, 4)
  return data
}

export function decodeMetaContext(data: Buffer): MetaContext {
  const reader = new FieldReader(data)
  const id = reader.uint32()
  return { id, name: reader.string(Math.min(reader.remaining, MAXIMUM_STRING_BYTES)) }
}

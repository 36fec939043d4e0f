import { VmcacheError } from '../../base/errors.js'
import { MAXIMUM_SOCKET_PATH_BYTES } from '../../base/system-calls.js'
import { DEFAULT_PORT, MAXIMUM_STRING_BYTES } from '../../protocol/nbd/constants.js'
import type { NbdTarget } from '../nbd/nbd-client.js'

export interface NbdUri {
  readonly address: NbdTarget
  /** The empty name is the server's default export. */
  readonly exportName: string
  /** One spelling for all that mean the same. */
  readonly canonical: string
}

const HINT = 'write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH'

/** Whether `text` means to be an NBD URI (right or wrong), rather than a path. */
export function looksLikeNbdUri(text: string): boolean {
  return /^nbds?(\+\w+)?:/i.test(text)
}

/**
 * Reads an NBD URI (doc/uri.md of the NBD project): `nbd://HOST[:PORT]/EXPORT` or
 * `nbd+unix:///EXPORT?socket=/PATH`, percent-encoded. Throws BAD_URI for anything else, TLS included.
 */
export function parseNbdUri(text: string): NbdUri {
  const bad = (problem: string): VmcacheError =>
    new VmcacheError('BAD_URI', `NBD URI ${JSON.stringify(text)}: ${problem}`, { hint: HINT })
  if (/\p{Surrogate}/u.test(text)) throw bad('it is not valid Unicode')
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?(#.*)?$/is.exec(text)
  if (match === null) throw bad('it is not of the form SCHEME://...')
  const [, scheme, authority = '', rawExport = '', query = '', fragment] = match
  if (fragment !== undefined) throw bad('it has a fragment (#...)')
  const decode = (raw: string, what: string): string => {
    let value: string
    try {
      value = decodeURIComponent(raw)
    } catch {
      throw bad(`the ${what} is not percent-encoded UTF-8`)
    }
    if (value.includes('\0')) throw bad(`the ${what} contains a zero byte`)
    return value
  }
  const exportName = decode(rawExport, 'export name')
  if (Buffer.byteLength(exportName) > MAXIMUM_STRING_BYTES) {
    throw bad(`the export name is longer than ${MAXIMUM_STRING_BYTES} bytes`)
  }
  const parameters = parseQuery(query, decode, bad)
  switch (scheme!.toLowerCase()) {
    case 'nbd': {
      if (parameters.size > 0) throw bad('nbd:// takes no parameters')
      const { host, port } = parseAuthority(authority, bad)
      const shownPort = port === DEFAULT_PORT ? '' : `:${port}`
      const shownHost = host.includes(':') ? `[${host}]` : host
      return { address: { host, port }, exportName, canonical: `nbd://${shownHost}${shownPort}/${encode(exportName)}` }
    }
    case 'nbd+unix': {
      if (authority !== '') throw bad(`it names a host, ${JSON.stringify(authority)}; a unix socket has none`)
      const path = parameters.get('socket')
      if (path === undefined) throw bad('the parameter socket=/PATH is missing')
      checkSocketPath(path, bad)
      return { address: { path }, exportName, canonical: `nbd+unix:///${encode(exportName)}?socket=${encode(path)}` }
    }
    case 'nbds':
    case 'nbds+unix':
      throw bad('TLS is not supported as an origin; reach the server through a local tunnel or a unix socket')
    default:
      throw bad(`scheme ${JSON.stringify(scheme)} is not supported`)
  }
}

type Bad = (problem: string) => VmcacheError

function parseQuery(query: string, decode: (raw: string, what: string) => string, bad: Bad): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = equals < 0 ? pair : pair.slice(0, equals)
    if (name !== 'socket') throw bad(`parameter ${JSON.stringify(name)} is not supported`)
    if (parameters.has(name)) throw bad(`parameter ${JSON.stringify(name)} is given twice`)
    parameters.set(name, decode(equals < 0 ? '' : pair.slice(equals + 1), name))
  }
  return parameters
}

function parseAuthority(authority: string, bad: Bad): { host: string; port: number } {
  if (authority.includes('@')) throw bad('it names a user; NBD has none')
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]%\s]+))(?::(\d*))?$/i.exec(authority)
  if (match === null)
    throw bad(authority === '' ? 'the host is missing' : `${JSON.stringify(authority)} is no host and port`)
  const port = match[3] === undefined || match[3] === '' ? DEFAULT_PORT : Number(match[3])
  if (port < 1 || port > 65535) throw bad(`port ${match[3]} is not between 1 and 65535`)
  return { host: (match[1] ?? match[2]!).toLowerCase(), port }
}

function checkSocketPath(path: string, bad: Bad): void {
  if (!path.startsWith('/')) throw bad(`the socket ${JSON.stringify(path)} is not an absolute path`)
  if (Buffer.byteLength(path) > MAXIMUM_SOCKET_PATH_BYTES) {
    throw bad(`the socket path is longer than ${MAXIMUM_SOCKET_PATH_BYTES} bytes`)
  }
}

/** Percent-encodes all but what is readable and safe in both places. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%3A', ':')
}

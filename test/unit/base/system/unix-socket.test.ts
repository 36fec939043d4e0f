import {
  closeSync,
  fstatSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  openSync,
  writeFileSync,
  readdirSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  listenUnix,
  MAXIMUM_PAYLOAD_BYTES,
  peerCredentials,
  receiveDescriptor,
  receiveDescriptorLater,
  sendDescriptor,
  socketPair,
} from '../../../../src/base/system-calls.js'

describe('unix sockets', () => {
  let directory: string

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vmcache-socket-'))
  })

  afterEach(() => rmSync(directory, { recursive: true }))

  it('listens with the mode and lets clients wait in the backlog', async () => {
    const path = join(directory, 'socket')
    const fd = listenUnix(path, { mode: 0o660, backlog: 16 })
    expect(statSync(path).mode & 0o777).toBe(0o660 & ~process.umask())
    const client = connect(path)
    await once(client, 'connect')
    const server = createServer().listen({ fd })
    const [accepted] = (await once(server, 'connection')) as [Socket]
    accepted.end('hello')
    const [data] = (await once(client, 'data')) as [Buffer]
    expect(data.toString()).toBe('hello')
    client.destroy()
    server.close()
  })

  it('refuses a path that exists and one that is too long', () => {
    const path = join(directory, 'taken')
    writeFileSync(path, '')
    expect(() => listenUnix(path, { backlog: 1 })).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }))
    expect(() => listenUnix(join(directory, 'x'.repeat(120)), { backlog: 1 })).toThrow(
      expect.objectContaining({ code: 'ENAMETOOLONG' }),
    )
    expect(readFileSync(path, 'utf8')).toBe('')
  })

  it('hands a descriptor over, with a payload', async () => {
    const [left, right] = socketPair()
    const path = join(directory, 'file')
    writeFileSync(path, 'content')
    const sent = openSync(path, 'r')
    sendDescriptor(left, sent, Buffer.from('{"path":"file"}'))
    closeSync(sent)
    const message = receiveDescriptor(right)!
    expect(message.payload.toString()).toBe('{"path":"file"}')
    expect(readFileSync(message.descriptor!, 'utf8')).toBe('content')
    closeSync(message.descriptor!)

    const waiting = receiveDescriptorLater(right)
    sendDescriptor(left, null, Buffer.from('no descriptor'))
    expect(await waiting).toEqual({ payload: Buffer.from('no descriptor'), descriptor: null })
    closeSync(left)
    expect(receiveDescriptor(right)).toBeNull()
    closeSync(right)
  })

  it('refuses a message that is too long, and keeps nothing of it open', () => {
    const [left, right] = socketPair()
    const before = readdirSync('/proc/self/fd').length
    sendDescriptor(left, left, Buffer.alloc(MAXIMUM_PAYLOAD_BYTES + 1))
    expect(() => receiveDescriptor(right)).toThrow(expect.objectContaining({ code: 'EMSGSIZE' }))
    expect(readdirSync('/proc/self/fd').length).toBe(before)
    closeSync(left)
    closeSync(right)
  })

  it('reports a peer that is gone', () => {
    const [left, right] = socketPair()
    closeSync(right)
    expect(() => sendDescriptor(left, null, Buffer.from('x'))).toThrow(expect.objectContaining({ code: 'EPIPE' }))
    closeSync(left)
  })

  it('knows who connected', () => {
    const [left, right] = socketPair()
    expect(peerCredentials(left)).toEqual({ pid: process.pid, uid: process.getuid!(), gid: process.getgid!() })
    closeSync(left)
    closeSync(right)
    const file = openSync('/dev/null', 'r')
    expect(() => peerCredentials(file)).toThrow(expect.objectContaining({ code: 'ENOTSOCK' }))
    expect(fstatSync(file).isCharacterDevice()).toBe(true)
    closeSync(file)
  })
})

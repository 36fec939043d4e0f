import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { checked, systemCall } from '../../../../src/base/system/libc.js'
import { notifyServiceManager } from '../../../../src/base/system-calls.js'

const socket = systemCall<[number, number, number]>('socket', ['int', 'int', 'int'], 'int')
const bind = systemCall<[number, Uint8Array, number]>('bind', ['int', 'void *', 'uint'], 'int')
const recv = systemCall<[number, Uint8Array, number, number]>('recv', ['int', 'void *', 'uint64', 'int'])

/** A datagram socket that takes the part of the service manager. */
function serviceManager(path: string): { receive(): string; close(): void } {
  const fd = checked(socket.now(1, 2, 0), 'socket', path)
  const address = Buffer.concat([Buffer.from([1, 0]), Buffer.from(path.replace(/^@/, '\0'))])
  checked(bind.now(fd, address, address.length), 'bind', path)
  const buffer = Buffer.alloc(1024)
  return {
    receive: () => buffer.toString('utf8', 0, checked(recv.now(fd, buffer, buffer.length, 0), 'recv', path)),
    close: () => closeSync(fd),
  }
}

describe('notifyServiceManager', () => {
  it('tells the service manager, at a path or an abstract name', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vmcache-notify-'))
    for (const path of [join(directory, 'notify'), `@vmcache-test-${process.pid}`]) {
      const manager = serviceManager(path)
      expect(notifyServiceManager('READY=1\nSTATUS=serving', { NOTIFY_SOCKET: path })).toBe(true)
      expect(manager.receive()).toBe('READY=1\nSTATUS=serving')
      manager.close()
    }
    rmSync(directory, { recursive: true })
  })

  it('says that nobody listens', () => {
    expect(notifyServiceManager('READY=1', {})).toBe(false)
    expect(() => notifyServiceManager('READY=1', { NOTIFY_SOCKET: '/nowhere/notify' })).toThrow(/ENOENT/)
  })
})

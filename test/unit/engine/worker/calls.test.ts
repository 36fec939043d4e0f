import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import { DiskError } from '../../../../src/engine/disk/served-disk.js'
import { OriginError } from '../../../../src/engine/origin/origin.js'
import { Calls } from '../../../../src/engine/worker/calls.js'

interface Served {
  bytes(length: number): Uint8Array
  fail(how: string): void
  port(port: MessagePort): string
}

const { port1, port2 } = new MessageChannel()
let handed: Uint8Array | undefined
new Calls<object, Served>(port2, {
  bytes: (length) => (handed = Buffer.allocUnsafeSlow(length).fill(7)),
  fail(how) {
    if (how === 'disk') throw new DiskError('ESHUTDOWN', 'it is being detached')
    if (how === 'origin') throw new OriginError('no space left', 'ENOSPC')
    if (how === 'user') throw new VmcacheError('WRONG_STATE', 'not now', { hint: 'later' })
    throw new TypeError('a bug')
  },
  port: (port) => {
    port.close()
    return 'closed'
  },
})
const calls = new Calls<Served, object>(port1, {})

test('bytes are handed over, not copied', async () => {
  const bytes = await calls.call('bytes', 4096)
  expect(Buffer.from(bytes).equals(Buffer.alloc(4096, 7))).toBe(true)
  expect(handed!.buffer.byteLength).toBe(0)
})

test('failures keep what they say: code, errno, hint', async () => {
  await expect(calls.call('fail', 'disk')).rejects.toMatchObject({ details: { errno: 'ESHUTDOWN' } })
  await expect(calls.call('fail', 'origin')).rejects.toMatchObject({
    code: 'ORIGIN_FAILED',
    message: 'no space left',
    details: { errno: 'ENOSPC' },
  })
  await expect(calls.call('fail', 'user')).rejects.toMatchObject({ code: 'WRONG_STATE', hint: 'later' })
  await expect(calls.call('fail', 'bug')).rejects.toMatchObject({ code: 'INTERNAL', message: 'a bug' })
})

test('a port travels with a call', async () => {
  const channel = new MessageChannel()
  const closed = new Promise((resolve) => channel.port1.once('close', resolve))
  expect(await calls.call('port', channel.port2, [channel.port2])).toBe('closed')
  await closed
})

test('the other side is gone: every call fails', async () => {
  const call = calls.call('bytes', 1)
  calls.close(new Error('gone'))
  await expect(call).rejects.toThrow('gone')
  await expect(calls.call('bytes', 1)).rejects.toThrow('gone')
  port1.close()
})

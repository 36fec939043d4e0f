import { closeSync } from 'node:fs'
import { expect, it } from 'vitest'
import { socketPair } from '../../../../src/base/system-calls.js'
import { createDescriptorOrigin, type DescriptorCalls } from '../../../../src/engine/origin/descriptor-origin.js'
import type { OriginDescription } from '../../../../src/engine/origin/origin.js'

const description: OriginDescription = {
  kind: 'file',
  uri: '/disk',
  sizeBytes: 4096,
  logicalBlockBytes: 512,
  readOnly: false,
  canTrim: true,
  canZero: true,
}

function failing(code: string): DescriptorCalls {
  const fail = (): Promise<never> => Promise.reject(Object.assign(new Error(`${code}: it broke`), { code }))
  return { read: fail, write: fail, zeroing: { zero: fail, trim: fail }, allocation: fail }
}

it('ends the session when a flush fails, for all who waited for it', async () => {
  // A socket cannot be synced, which is as good as storage that fails.
  const [socket, other] = socketPair()
  closeSync(other)
  const origin = createDescriptorOrigin({ fd: socket, path: '/disk' }, description, failing('EIO'))
  const first = origin.flush()
  const shared = [origin.flush(), origin.flush()]
  await expect(first).rejects.toMatchObject({ name: 'OriginError', errno: 'EIO', code: 'ORIGIN_FAILED' })
  expect(origin.session).toBe(1)
  for (const flush of shared) await expect(flush).rejects.toThrow('origin /disk: cannot flush: ')
  expect(origin.session).toBe(2)
  await origin.close(1000)
})

it.each([
  ['ENOSPC', 'ENOSPC'],
  ['EDQUOT', 'ENOSPC'],
  ['EROFS', 'EPERM'],
  ['EIO', 'EIO'],
  ['ETIMEDOUT', 'EIO'],
])('tells a client of %s as %s', async (code, errno) => {
  const [socket, other] = socketPair()
  closeSync(other)
  const origin = createDescriptorOrigin({ fd: socket, path: '/disk' }, description, failing(code))
  await expect(origin.write(512, Buffer.alloc(1024))).rejects.toMatchObject({
    errno,
    message: `origin /disk: cannot write 1024 bytes at 512: ${code}: it broke`,
  })
  await expect(origin.read(0, Buffer.alloc(512))).rejects.toMatchObject({ errno })
  await origin.close(1000)
})

import { describe, expect, it } from 'vitest'
import { limitOrigin } from '../../../../src/engine/origin/limit.js'
import { OriginError, type Origin } from '../../../../src/engine/origin/origin.js'
import { faultyOrigin, type FaultyOrigin } from '../../../support/faulty-origin.js'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

function emptyOrigin(): Origin {
  const nothing = async (): Promise<void> => {}
  return {
    description: {
      kind: 'file',
      uri: '/disk',
      sizeBytes: 4096,
      logicalBlockBytes: 512,
      readOnly: false,
      canTrim: true,
      canZero: true,
    },
    session: 0,
    read: nothing,
    write: nothing,
    flush: nothing,
    trim: nothing,
    zero: nothing,
    allocation: async () => [],
    close: nothing,
  }
}

describe('limitOrigin', () => {
  let storage: FaultyOrigin
  const limited = (calls: number): Origin => limitOrigin((storage = faultyOrigin(emptyOrigin())), calls)

  it('S4: lets no more calls through than it may, whatever they are, and the rest in order', async () => {
    const origin = limited(3)
    const release = storage.hang()
    const ended: number[] = []
    const calls = Array.from({ length: 12 }, (_, index) => {
      const kinds = [
        () => origin.read(0, Buffer.alloc(512)),
        () => origin.write(0, Buffer.alloc(512)),
        () => origin.flush(),
        () => origin.trim(0, 512),
        () => origin.zero(0, 512, { mayTrim: true, fast: false }),
        () => origin.allocation(0, 512),
      ]
      return kinds[index % kinds.length]!().then(() => ended.push(index))
    })
    await turn()
    expect(storage.inFlight.now).toBe(3)
    release()
    await Promise.all(calls)
    expect(storage.inFlight).toEqual({ now: 0, most: 3 })
    expect(ended).toEqual([...Array(12).keys()])
  })

  it('goes on after failures', async () => {
    const origin = limited(1)
    storage.fail(['read'], new OriginError('broken'))
    const reads = [origin.read(0, Buffer.alloc(512)), origin.read(0, Buffer.alloc(512))]
    for (const read of reads) await expect(read).rejects.toThrow('broken')
    storage.fail(['read'], null)
    await expect(origin.read(0, Buffer.alloc(512))).resolves.toBeUndefined()
  })

  it('shows the session of the origin', async () => {
    const origin = limited(1)
    storage.fail(['flush'], new OriginError('broken'))
    await expect(origin.flush()).rejects.toThrow('broken')
    expect(origin.session).toBe(1)
  })

  it('closes after what was asked for, and refuses what comes later', async () => {
    const origin = limited(1)
    storage.delay(5)
    const calls = [origin.flush(), origin.flush(), origin.flush()]
    await origin.close(1000)
    await Promise.all(calls)
    await expect(origin.flush()).rejects.toMatchObject({ errno: 'ESHUTDOWN' })
  })

  it('abandons a hung origin when its time is over, and fails what waited', async () => {
    const origin = limited(1)
    const release = storage.hang()
    const hung = origin.read(0, Buffer.alloc(512))
    const waiting = origin.read(0, Buffer.alloc(512))
    const refused = expect(waiting).rejects.toMatchObject({ errno: 'ESHUTDOWN' })
    await origin.close(20)
    await refused
    release()
    await hung
  })
})

import { describe, expect, it } from 'vitest'
import { weightsOf } from '../../../../src/engine/pool/weights.js'

const disk = (shares: number, gain: number | undefined, isIdle = false) => ({ shares, gain, isIdle })

describe('how much disks count', () => {
  it('their shares, while nothing is known or all would gain the same', () => {
    expect(weightsOf([disk(100, undefined), disk(300, undefined)])).toEqual([100, 300])
    expect(weightsOf([disk(100, 0), disk(300, 0)])).toEqual([100, 300])
    expect(weightsOf([disk(100, 7), disk(300, 7)])).toEqual([100, 300])
  })

  it('more where more room brings more, within bounds', () => {
    const [busy, done] = weightsOf([disk(100, 10), disk(100, 0)])
    expect(busy).toBeGreaterThan(150)
    expect(busy).toBeLessThanOrEqual(400)
    expect(done).toBe(25)
  })

  it('the same where what is gained is next to nothing', () => {
    const [some, none] = weightsOf([disk(100, 0.001), disk(100, 0)])
    expect(some! / none!).toBeLessThan(1.2)
  })

  it('nothing where nobody uses them', () => {
    expect(weightsOf([disk(100, 5, true), disk(100, 0)])).toEqual([0, 100])
    expect(weightsOf([disk(100, undefined, true)])).toEqual([0])
    expect(weightsOf([disk(0, 5), disk(100, 0)])).toEqual([0, 100])
    expect(weightsOf([disk(0, 5), disk(0, undefined)])).toEqual([0, 0])
  })
})

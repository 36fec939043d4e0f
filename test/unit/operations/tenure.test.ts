import { describe, expect, it } from 'vitest'
import { judgeTenure, type RecordedTenure, type SeenOrigin } from '../../../src/operations/tenure.js'

const second = 1_000_000_000n
const end = 1_000_000n * second

const file: SeenOrigin = { kind: 'file', stamp: { id: 's', epoch: 3 }, sizeBytes: 4096, inode: '7', modifiedAt: end }
const device: SeenOrigin = { kind: 'block', stamp: null, sizeBytes: 4096, inode: null, modifiedAt: null }
const nbd: SeenOrigin = { ...device, kind: 'nbd' }

const clean = (of: SeenOrigin): RecordedTenure => ({ ...of, end: { how: 'clean' }, heldSince: false })
const killed = (of: SeenOrigin): RecordedTenure => ({
  ...of,
  modifiedAt: of.modifiedAt === null ? null : end - 100n * second,
  end: { how: 'killed', at: end },
  heldSince: true,
})
const powerCut = (of: SeenOrigin, lastFrameAt: bigint | null = end): RecordedTenure => ({
  ...killed(of),
  end: { how: 'power-cut', lastFrameAt },
  heldSince: false,
})
const lost = (of: SeenOrigin): RecordedTenure => ({ ...powerCut(of), end: { how: 'lost', lastFrameAt: end } })

const changed = (reason: RegExp): unknown => ({ changed: true, reason: expect.stringMatching(reason) })
const judge = (recorded: RecordedTenure | null, seen: SeenOrigin | null, isExclusive = false): unknown =>
  judgeTenure(recorded, seen, { isExclusive })

describe('judgeTenure', () => {
  it.each([true, false])('D3: waits for an origin that is not there (exclusive: %s)', (isExclusive) => {
    expect(judge(clean(file), null, isExclusive)).toBe('waiting')
    expect(judge(null, null, isExclusive)).toBe('waiting')
  })

  it.each([true, false])('D3: trusts nothing that it cannot compare (exclusive: %s)', (isExclusive) => {
    expect(judge(null, file, isExclusive)).toEqual(changed(/nothing is remembered/))
    expect(judge(clean(file), { ...device, stamp: file.stamp, inode: '7' }, isExclusive)).toEqual(changed(/kind file/))
    expect(judge(clean(file), { ...file, sizeBytes: 8192 }, isExclusive)).toEqual(
      changed(/had 4096 bytes, it has 8192/),
    )
    expect(judge(clean(nbd), { ...nbd, sizeBytes: 512 }, isExclusive)).toEqual(changed(/had 4096 bytes, it has 512/))
    expect(judge(clean(file), { ...file, inode: '8' }, isExclusive)).toEqual(changed(/another file/))
  })

  it.each([
    ['gone', null],
    ['of another attachment', { id: 'other', epoch: 3 }],
    ['newer', { id: 's', epoch: 4 }],
    ['older', { id: 's', epoch: 2 }],
  ])('D3: a stamp that is %s is a change, exclusive or not', (_, stamp) => {
    for (const recorded of [clean(file), killed(file), powerCut(file)]) {
      expect(judge(recorded, { ...file, stamp }, true)).toEqual(changed(/stamp/))
    }
  })

  it('D3: a stamp where none was left is a change', () => {
    expect(judge(clean({ ...file, stamp: null }), file)).toEqual(changed(/stamp/))
    expect(judge(clean({ ...file, stamp: null }), { ...file, stamp: null })).toBe('trusted')
  })

  it('D3: after a clean end a file has the very time that was remembered', () => {
    expect(judge(clean(file), file)).toBe('trusted')
    expect(judge(clean(file), { ...file, modifiedAt: end + 1n })).toEqual(changed(/modified since/))
    expect(judge(clean(file), { ...file, modifiedAt: end - 1n })).toEqual(changed(/older/))
    expect(judge(clean(file), { ...file, modifiedAt: end + 1n }, true)).toEqual(changed(/modified since/))
  })

  it('S1: after a kill our own last writes are no change; D3: later ones are', () => {
    expect(judge(killed(file), { ...file, modifiedAt: end - 100n * second })).toBe('trusted')
    expect(judge(killed(file), { ...file, modifiedAt: end })).toBe('trusted')
    expect(judge(killed(file), { ...file, modifiedAt: end + 1n })).toEqual(changed(/modified since/))
    expect(judge(killed(file), { ...file, modifiedAt: end - 101n * second })).toEqual(changed(/older/))
  })

  it.each(['power-cut', 'lost'] as const)('D3: after %s our writes end 5 s after the last frame', (how) => {
    const recorded = how === 'lost' ? lost(file) : powerCut(file)
    expect(judge(recorded, { ...file, modifiedAt: end + 5n * second })).toBe('trusted')
    expect(judge(recorded, { ...file, modifiedAt: end + 5n * second + 1n })).toEqual(changed(/modified since/))
    expect(judge(recorded, { ...file, modifiedAt: end - 101n * second })).toEqual(changed(/older/))
  })

  it('D3: without a known end only the administrator can vouch for a file', () => {
    expect(judge(powerCut(file, null), file)).toEqual(changed(/nobody knows/))
    expect(judge(powerCut(file, null), file, true)).toBe('trusted')
  })

  it('counts times in the clock of the origin', () => {
    const late = { ...file, modifiedAt: end + 60n * second }
    expect(judgeTenure(killed(file), late, { isExclusive: false })).toEqual(changed(/modified since/))
    expect(judgeTenure(killed(file), late, { isExclusive: false, clockAhead: 60n * second })).toBe('trusted')
    expect(judgeTenure(clean(file), late, { isExclusive: false, clockAhead: 60n * second })).toEqual(changed(/since/))
  })

  describe.each([device, nbd])('of storage that shows no times', (seen) => {
    it('is trusted after a clean end or a kill, if it was held ever since', () => {
      expect(judge({ ...clean(seen), heldSince: true }, seen)).toBe('trusted')
      expect(judge(killed(seen), seen)).toBe('trusted')
    })

    it('D3: is changed after every gap, unless it is exclusive', () => {
      const gaps = [
        clean(seen),
        { ...killed(seen), heldSince: false },
        powerCut(seen),
        powerCut(seen, null),
        lost(seen),
      ]
      for (const recorded of gaps) {
        expect(judge(recorded, seen)).toEqual(changed(/does not show/))
        expect(judge(recorded, seen, true)).toBe('trusted')
      }
    })
  })
})

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { previousEnd, tenureFile, type Tenure } from '../../../src/daemon/tenure.js'

const now = { bootId: 'boot-1', supervisorId: 'supervisor-1' }
const at = '2026-01-02T03:04:05.000Z'
const tenure = (change: Partial<Tenure> = {}): Tenure => ({
  ...now,
  startedAt: '2026-01-01T00:00:00.000Z',
  end: { clean: true, at },
  unsettled: null,
  ...change,
})

describe('what the next engine is told', () => {
  test('nothing before', () => {
    expect(previousEnd(null, now)).toEqual({ kind: 'none', at: null, sameSupervisor: false })
  })

  test('a clean end stays clean over supervisors and reboots', () => {
    expect(previousEnd(tenure(), now)).toEqual({ kind: 'clean', at, sameSupervisor: true })
    expect(previousEnd(tenure(), { ...now, supervisorId: 'other' })).toMatchObject({
      kind: 'clean',
      sameSupervisor: false,
    })
    expect(previousEnd(tenure(), { bootId: 'boot-2', supervisorId: 'other' })).toMatchObject({ kind: 'clean', at })
  })

  test('a kill under this kernel has a time, and after a reboot is a power cut', () => {
    const killed = tenure({ end: { clean: false, at } })
    expect(previousEnd(killed, now)).toEqual({ kind: 'killed', at, sameSupervisor: true })
    expect(previousEnd(killed, { ...now, supervisorId: 'other' })).toEqual({
      kind: 'killed',
      at,
      sameSupervisor: false,
    })
    expect(previousEnd(killed, { ...now, bootId: 'boot-2' })).toEqual({ kind: 'power-cut', at, sameSupervisor: false })
  })

  test('an end that nobody saw is lost under this kernel, a power cut under another', () => {
    expect(previousEnd(tenure({ end: null }), now)).toMatchObject({ kind: 'lost', at: null })
    expect(previousEnd(tenure({ end: null }), { ...now, bootId: 'boot-2' })).toMatchObject({
      kind: 'power-cut',
      at: null,
    })
  })

  test('an engine that died before it served everything leaves its inheritance to the next', () => {
    const powerCut = { kind: 'power-cut', at: null, sameSupervisor: false } as const
    const died = tenure({ end: { clean: false, at }, unsettled: powerCut })
    expect(previousEnd(died, now)).toEqual({ kind: 'power-cut', at, sameSupervisor: false })
    const closed = tenure({ end: { clean: true, at }, unsettled: { kind: 'killed', at, sameSupervisor: true } })
    expect(previousEnd(closed, now)).toEqual({ kind: 'killed', at, sameSupervisor: true })
    expect(previousEnd(closed, { ...now, bootId: 'boot-2' })).toMatchObject({ kind: 'power-cut' })
    const first = tenure({ unsettled: { kind: 'none', at: null, sameSupervisor: false } })
    expect(previousEnd(first, now)).toEqual({ kind: 'clean', at, sameSupervisor: true })
  })
})

describe('the file', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'vmcache-tenure-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  test('keeps what was written', async () => {
    const file = tenureFile(directory)
    expect(await file.read()).toBeNull()
    await file.write(tenure({ end: null }))
    expect(await file.read()).toEqual(tenure({ end: null }))
  })

  test('that is cut or foreign counts as an end that nobody saw, under no kernel that we know', async () => {
    const file = tenureFile(directory)
    await file.write(tenure())
    const whole = await readFile(join(directory, 'tenure.json'), 'utf8')
    // Without its last two bytes (brace, line end) it is no JSON any more.
    for (let length = 0; length < whole.length - 1; length++) {
      await writeFile(join(directory, 'tenure.json'), whole.slice(0, length))
      expect(previousEnd(await file.read(), now).kind).toBe('power-cut')
    }
    for (const foreign of ['null', '[]', '{}', '{"bootId":1}', whole.replace('true', '"yes"')]) {
      await writeFile(join(directory, 'tenure.json'), foreign)
      expect(previousEnd(await file.read(), now).kind).toBe('power-cut')
    }
  })
})

import { describe, expect, test } from 'vitest'
import { observeActivity, type Activity, type ActivitySample } from '../../../src/model/idleness.js'

const LIMITS = { processorPercent: 3, requestsPerMinute: 100 }

/** A VM that is sampled every 15 s, with what it did since the last time. */
function watch(limits = LIMITS) {
  let activity: Activity | null = null
  let now: ActivitySample = { at: 0, cpuSeconds: 100, diskRequests: 5000, consoles: [] }
  const look = (
    did: { cpuSeconds?: number; diskRequests?: number; consoles?: string[] } = {},
    seconds = 15,
  ): Activity => {
    now = {
      at: now.at + seconds * 1000,
      cpuSeconds: now.cpuSeconds + (did.cpuSeconds ?? 0.1),
      diskRequests: now.diskRequests + (did.diskRequests ?? 0),
      consoles: did.consoles ?? [],
    }
    return (activity = observeActivity(activity, now, limits))
  }
  const idleSeconds = () => (now.at - activity!.idleSince) / 1000
  return { look, idleSeconds, awake: () => activity!.awake }
}

describe('a VM', () => {
  test('is idle since somebody looks, as long as nothing happens', () => {
    const { look, idleSeconds, awake } = watch()
    for (let samples = 0; samples < 10; samples++) look()
    expect(idleSeconds()).toBe(135)
    expect(awake()).toEqual([])
  })

  test('that uses its processor is awake, and idle since it stopped', () => {
    const { look, idleSeconds, awake } = watch()
    for (let samples = 0; samples < 5; samples++) look({ cpuSeconds: 15 })
    expect(idleSeconds()).toBe(0)
    expect(awake()).toEqual(['processor 100 %, idle is under 3 %'])
    for (let samples = 0; samples < 8; samples++) look()
    expect(idleSeconds()).toBe(120)
    expect(awake()).toEqual([])
  })

  test('just under the limits is idle, at them it is not', () => {
    const { look, idleSeconds } = watch()
    for (let samples = 0; samples < 9; samples++) look({ cpuSeconds: 0.44, diskRequests: 24 })
    expect(idleSeconds()).toBe(120)
    look({ cpuSeconds: 0.45 }, 15)
    expect(idleSeconds()).toBe(135)
    for (let samples = 0; samples < 9; samples++) look({ diskRequests: 25 })
    expect(idleSeconds()).toBeLessThan(60)
    const { look: other, idleSeconds: otherIdle } = watch()
    for (let samples = 0; samples < 9; samples++) other({ cpuSeconds: 0.46 })
    expect(otherIdle()).toBe(0)
  })

  test('is not woken by a burst that a minute does not notice, nor by its sum over an hour', () => {
    const { look, idleSeconds } = watch()
    for (let samples = 0; samples < 8; samples++) look()
    look({ cpuSeconds: 1, diskRequests: 99 })
    for (let samples = 0; samples < 4; samples++) look()
    expect(idleSeconds()).toBe(180)
    look({ diskRequests: 100 })
    expect(idleSeconds()).toBe(0)
  })

  test('with many requests to its disks is awake, and says how many', () => {
    const { look, idleSeconds, awake } = watch()
    for (let samples = 0; samples < 6; samples++) look({ diskRequests: 50 })
    expect(awake()).toEqual(['200 disk requests a minute, idle is under 100'])
    expect(idleSeconds()).toBeLessThan(60)
  })

  test('whose console is open is awake', () => {
    const { look, idleSeconds, awake } = watch()
    for (let samples = 0; samples < 6; samples++) look()
    look({ consoles: ['VNC'] })
    expect(idleSeconds()).toBe(0)
    expect(awake()).toEqual(['a console is open (VNC)'])
    look()
    expect(idleSeconds()).toBe(15)
  })

  test('that was started anew begins anew', () => {
    const { look, idleSeconds } = watch()
    for (let samples = 0; samples < 6; samples++) look()
    look({ cpuSeconds: -90 })
    expect(idleSeconds()).toBe(0)
    look()
    look({ diskRequests: -5000 })
    expect(idleSeconds()).toBe(0)
  })

  test('that nobody looked at for long is judged by all that it did meanwhile', () => {
    const { look, idleSeconds } = watch()
    for (let samples = 0; samples < 6; samples++) look()
    look({ cpuSeconds: 60 }, 600)
    expect(idleSeconds()).toBe(0)
    look({ cpuSeconds: 1, diskRequests: 600 }, 600)
    expect(idleSeconds()).toBe(600)
  })
})

import { beforeEach, describe, expect, test } from 'vitest'
import { createBackOff } from '../../../src/daemon/back-off.js'
import {
  createEngineKeeper,
  type EngineChild,
  type EngineExit,
  type EngineKeeper,
  type KeptEngine,
} from '../../../src/daemon/engine-keeper.js'
import type { Tenure } from '../../../src/daemon/tenure.js'
import { silentLogger } from '../../../src/base/logger.js'
import type { PreviousEnd } from '../../../src/operations/previous-end.js'
import type { SupervisorStatus } from '../../../src/protocol/control/supervisor-status.js'
import { manualClock, turn, type ManualClock } from '../../support/manual-clock.js'

interface FakeChild extends EngineChild {
  readonly told: PreviousEnd
  readonly withoutCaches: string | null
  readonly kept: KeptEngine
  readonly asked: string[]
  exit(exit: EngineExit): Promise<void>
}

let clock: ManualClock
let children: FakeChild[]
let written: Tenure[]
let stored: Tenure | null
let statuses: SupervisorStatus['engine'][]
let failWrites: number
let failSpawns: number
let keeper: EngineKeeper
let run: Promise<void>

const KILLED: EngineExit = { code: null, signal: 'SIGKILL' }
const CLEAN: EngineExit = { code: 0, signal: null }

function spawn(told: PreviousEnd, withoutCaches: string | null, kept: KeptEngine): FakeChild {
  if (failSpawns-- > 0) throw new Error('no more processes')
  let end: (exit: EngineExit) => void = () => undefined
  const asked: string[] = []
  const child: FakeChild = {
    pid: 1000 + children.length,
    exited: new Promise((resolve) => (end = resolve)),
    stop: (isLast) => asked.push(isLast ? 'stop for good' : 'stop'),
    kill: () => asked.push('kill'),
    told,
    withoutCaches,
    kept,
    asked,
    async exit(exit) {
      end(exit)
      await turn()
    },
  }
  children.push(child)
  return child
}

function start(): void {
  keeper = createEngineKeeper({
    spawn,
    tenures: {
      read: async () => stored,
      async write(tenure) {
        if (failWrites-- > 0) throw new Error('no space left')
        stored = tenure
        written.push(tenure)
      },
    },
    bootId: 'boot',
    supervisorId: 'supervisor',
    stopTimeoutMilliseconds: 60_000,
    hangTimeoutMilliseconds: 30_000,
    backOff: createBackOff(),
    clock,
    logger: silentLogger,
    onStatus: (status) => statuses.push(status),
  })
  run = keeper.run()
}

const last = (): FakeChild => children.at(-1)!
const state = () => statuses.at(-1)?.state

beforeEach(async () => {
  clock = manualClock()
  children = []
  written = []
  statuses = []
  stored = null
  failWrites = 0
  failSpawns = 0
  start()
  await turn()
})

test('the start of a tenure is on stable storage before its engine is spawned', async () => {
  expect(children).toHaveLength(1)
  expect(written).toEqual([
    expect.objectContaining({ bootId: 'boot', end: null, unsettled: expect.objectContaining({ kind: 'none' }) }),
  ])
  failWrites = 1
  await last().exit(KILLED)
  // The record of the end failed; the start of the next one is written from memory.
  expect(last().told).toMatchObject({ kind: 'killed' })
})

test('an engine that dies is replaced at once, the next ones later and later', async () => {
  const delays: (number | null)[] = []
  for (let index = 0; index < 7; index++) {
    await last().exit({ code: 1, signal: null })
    delays.push(children.length === index + 2 ? 0 : clock.nextDelay)
    await clock.advance(clock.nextDelay ?? 0)
    expect(children).toHaveLength(index + 2)
  }
  expect(delays).toEqual([0, 200, 500, 1000, 2000, 5000, 5000])
  expect(statuses.at(-1)).toMatchObject({ failures: 7, lastEnd: { reason: 'it ended with exit code 1' } })
})

describe('engines that end while they open the caches', () => {
  const CRASHED: EngineExit = { code: null, signal: 'SIGABRT' }
  const crash = async (times: number, exit = CRASHED) => {
    for (let index = 0; index < times; index++) {
      last().kept.restoring()
      await last().exit(exit)
      await clock.advance(clock.nextDelay ?? 0)
    }
  }

  test('five times in a row are followed by one that serves the disks without', async () => {
    await crash(4)
    expect(last().withoutCaches).toBeNull()
    await crash(1)
    expect(last().withoutCaches).toBe('5 engines in a row ended while they opened the caches: it was ended by SIGABRT')
    expect(children).toHaveLength(6)
  })

  test.each([
    ['one of them runs', () => last().kept.running()],
    ['one of them has no state database', () => undefined],
  ])('but not where %s', async (_, what) => {
    await crash(4)
    what()
    await last().exit(CRASHED)
    await clock.advance(clock.nextDelay ?? 0)
    await crash(1)
    expect(last().withoutCaches).toBeNull()
  })

  test('are no reason where somebody killed them', async () => {
    await crash(10, KILLED)
    expect(last().withoutCaches).toBeNull()
  })

  test('an administrator who replaces the one without caches wants one with them', async () => {
    await crash(5)
    last().kept.restoring()
    last().kept.running()
    keeper.replace()
    await last().exit(CLEAN)
    expect(last().withoutCaches).toBeNull()
  })

  test('one without caches that cannot start either leaves it to the next to try with them', async () => {
    await crash(6)
    expect(last().withoutCaches).toBeNull()
    await crash(5)
    expect(last().withoutCaches).not.toBeNull()
  })
})

describe('an engine that hangs', () => {
  const beats = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      last().kept.alive()
      await clock.advance(1000)
    }
  }

  test('is killed when it has said nothing for the time; the next one is told that it was killed', async () => {
    last().kept.running()
    await beats(100)
    expect(last().asked).toEqual([])
    await clock.advance(26_000)
    expect(last().asked).toEqual([])
    await clock.advance(4000)
    expect(last().asked).toEqual(['kill'])
    await last().exit(KILLED)
    expect(children).toHaveLength(2)
    expect(last().told).toMatchObject({ kind: 'killed' })
    expect(statuses.at(-1)?.lastEnd?.reason).toBe('it said nothing for 30 s, and was killed')
  })

  test('while it opens the caches counts as one that ended there', async () => {
    for (let index = 0; index < 5; index++) {
      last().kept.restoring()
      await clock.advance(30_000)
      await last().exit(KILLED)
      await clock.advance(clock.nextDelay ?? 0)
    }
    expect(last().withoutCaches).toContain('it said nothing for 30 s')
  })

  test('in its end has the time that an end may take', async () => {
    keeper.stop()
    await clock.advance(59_000)
    expect(last().asked).toEqual(['stop for good'])
    await clock.advance(1000)
    expect(last().asked).toEqual(['stop for good', 'kill'])
    await last().exit(KILLED)
    await run
  })
})

test('an engine that ran well starts a new series', async () => {
  for (let index = 0; index < 3; index++) {
    await last().exit(KILLED)
    await clock.advance(clock.nextDelay ?? 0)
  }
  await clock.advance(60_000)
  await last().exit(KILLED)
  expect(children).toHaveLength(5)
})

test('the next engine is spawned only after the old one has been reaped', async () => {
  keeper.replace()
  await clock.advance(30_000)
  expect(last().asked).toEqual(['stop'])
  expect(children).toHaveLength(1)
  await last().exit(CLEAN)
  expect(children).toHaveLength(2)
})

test('the next engine is told when and how the one before it ended', async () => {
  last().kept.running()
  await clock.advance(5000)
  await last().exit(KILLED)
  expect(last().told).toEqual({ kind: 'killed', at: '2026-01-01T00:00:05.000Z', sameSupervisor: true })
  last().kept.running()
  keeper.replace()
  await last().exit(CLEAN)
  expect(last().told).toMatchObject({ kind: 'clean' })
})

test('what an engine has not dealt with goes to the next', async () => {
  last().kept.running()
  await last().exit(KILLED)
  keeper.replace()
  await last().exit(CLEAN)
  expect(last().told).toMatchObject({ kind: 'killed' })
  last().kept.running()
  await turn()
  expect(stored).toMatchObject({ end: null, unsettled: null })
})

test('the reason that an engine gives is what people see', async () => {
  last().kept.failed('state database is locked')
  await last().exit({ code: 1, signal: null })
  expect(statuses.at(-1)?.lastEnd).toEqual({ at: expect.any(String), reason: 'state database is locked' })
})

describe('stop', () => {
  test('asks the engine to close, and ends when it has', async () => {
    last().kept.running()
    keeper.stop()
    expect(state()).toBe('stopping')
    expect(last().asked).toEqual(['stop for good'])
    await last().exit(CLEAN)
    await run
    expect(children).toHaveLength(1)
    expect(stored?.end).toEqual({ clean: true, at: expect.any(String) })
  })

  test('kills an engine that does not close in time', async () => {
    keeper.stop()
    await clock.advance(59_999)
    expect(last().asked).toEqual(['stop for good'])
    await clock.advance(1)
    expect(last().asked).toEqual(['stop for good', 'kill'])
    await last().exit(KILLED)
    await run
    expect(stored?.end).toMatchObject({ clean: false })
  })

  test('ends a wait for the next try', async () => {
    await last().exit(KILLED)
    await last().exit(KILLED)
    expect(state()).toBe('waiting')
    keeper.stop()
    await run
    expect(children).toHaveLength(2)
  })

  test('of an engine that is just being replaced', async () => {
    keeper.replace()
    keeper.stop()
    await last().exit(CLEAN)
    await run
    expect(children).toHaveLength(1)
  })

  test('twice is once', async () => {
    keeper.stop()
    keeper.stop()
    expect(last().asked).toEqual(['stop for good'])
    await last().exit(CLEAN)
    await run
  })
})

describe('hold', () => {
  test('closes the engine and starts none until it is released', async () => {
    keeper.hold()
    await last().exit(CLEAN)
    expect(state()).toBe('held')
    await clock.advance(3_600_000)
    expect(children).toHaveLength(1)
    keeper.release()
    await turn()
    expect(children).toHaveLength(2)
  })

  test('is ended by a replacement and by a stop', async () => {
    keeper.hold()
    await last().exit(CLEAN)
    keeper.replace()
    await turn()
    expect(children).toHaveLength(2)
    keeper.hold()
    await last().exit(CLEAN)
    keeper.stop()
    await run
  })

  test('a release of an engine that runs does nothing', async () => {
    keeper.release()
    await turn()
    expect(children).toHaveLength(1)
    expect(last().asked).toEqual([])
  })
})

test('an engine that cannot be spawned at all is tried again, and the reason is told', async () => {
  failSpawns = 2
  await last().exit(KILLED)
  expect(statuses.at(-1)).toMatchObject({ state: 'waiting', lastEnd: { reason: 'no more processes' } })
  await clock.advance(200)
  expect(children).toHaveLength(1)
  await clock.advance(1000)
  expect(children).toHaveLength(2)
  expect(last().told).toMatchObject({ kind: 'killed' })
})

test('no engine runs whose start is not recorded', async () => {
  await last().exit(KILLED)
  failWrites = 2
  await last().exit(KILLED)
  await clock.advance(200)
  expect(children).toHaveLength(2)
  expect(statuses.at(-1)).toMatchObject({ state: 'waiting', lastEnd: { reason: 'no space left' } })
  await clock.advance(10_000)
  expect(children).toHaveLength(3)
})

/**
 * D1, D2, D3 (and D4 in write-back) against power cuts of the real engine: every write and sync that an engine process makes on its cache devices and
 * its origin is recorded (test/support/power-cut/ says how, and by which rules bytes survive), the power is cut at random moments of the record,
 * recovery included, and the next engine process runs on what is left.
 *
 * VMCACHE_POWER_CUT_SECONDS says how long (30 in all where not given); VMCACHE_POWER_CUT_SEED repeats the choices of a run, though not the timing of its
 * processes: more seconds make it as good. With VMCACHE_POWER_CUT_KEEP=1 the files of a finding stay, and the message says where.
 *
 * That this can fail: VMCACHE_POWER_CUT_FAULTS=1 plants faults into copies of the build, one after the other, and expects each to be
 * found: those of power-cut/planted-faults.ts, and of the simulation's those that are named below. Each was, within 90 s of a busy machine.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { SeededRandom } from '../../src/base/random.js'
import { SECTOR_BYTES } from '../../src/model/geometry.js'
import type { Mode } from '../../src/model/mode.js'
import { PLANTED_FAULTS } from '../simulation/planted-faults.js'
import { DiskHistory } from '../support/power-cut/disk-history.js'
import { Machine, PowerCutFinding, type Life } from '../support/power-cut/machine.js'
import { plantInBuild } from '../support/power-cut/planted-build.js'
import { POWER_CUT_FAULTS } from '../support/power-cut/planted-faults.js'
import { now, type CallKind, type RecordedCall, type RecordedEvent } from '../support/power-cut/read-record.js'
import { FOREIGN } from '../support/power-cut/stamps.js'
import { StorageModel } from '../support/power-cut/storage-model.js'

const SECONDS = Number(process.env['VMCACHE_POWER_CUT_SECONDS'] ?? 30)
const SEED = Number(process.env['VMCACHE_POWER_CUT_SEED'] ?? Date.now() % 2 ** 32)
const FILE = 'test/integration/power-cut.test.ts'
/** Disks that are cut together. */
const DISKS = 6
/** They leave pages in the cache; write-around does only where it is not written. */
const CACHING: readonly Mode[] = ['write-through', 'write-back']
const TESTED = Array.from({ length: DISKS }, (_, index) =>
  index === 0 ? 'write-around' : CACHING[index % CACHING.length]!,
)
const KEEPS = process.env['VMCACHE_POWER_CUT_KEEP'] !== undefined
/** For the first life and the last, on a busy machine. */
const START_SECONDS = 120

interface Run {
  readonly modes: readonly Mode[]
  readonly seed: number
  readonly seconds: number
  /** Entry of another build's supervisor. */
  readonly main?: string
}

interface Report {
  cuts: number
  /** Begins and ends of recorded calls, among which they were chosen. */
  events: number
  /** Reads of whole disks after a cut that the caches answered. */
  warmReads: number
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vmcache-power-cut-'))
  onTestFinished(({ task }) => {
    if (!KEEPS || task.result?.state !== 'fail') rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** Cuts the power of a machine again and again, each time in the life that the cut before began. */
async function cutAgainAndAgain({ modes, seed, seconds, main }: Run): Promise<Report> {
  const random = new SeededRandom(seed)
  const directory = temporaryDirectory()
  const machine = new Machine({ directory, modes, random, ...(main === undefined ? {} : { main }) })
  const end = Date.now() + seconds * 1000
  const report: Report = { cuts: 0, events: 0, warmReads: 0 }
  let life: Life = await machine.begin()
  do {
    const next = await machine.cut(life).catch((error: unknown) => {
      if (!(error instanceof PowerCutFinding)) throw error
      const repeat = `VMCACHE_POWER_CUT_SEED=${seed} VMCACHE_POWER_CUT_SECONDS=${seconds} npx vitest run ${FILE}`
      error.message += `\nafter ${report.cuts} power cuts; to repeat: ${repeat}`
      if (KEEPS) error.message += `\nits files: ${directory}`
      throw error
    })
    report.cuts += modes.length
    report.events += life.events.length
    report.warmReads += next.disks.reduce((sum, { warmReads }) => sum + warmReads, 0)
    machine.forget(life)
    life = next
  } while (Date.now() < end)
  return report
}

test(
  'D1 D2 D3 D4: no power cut loses a flushed byte, leaves a stale or torn one, or brings back what was dropped',
  { timeout: (SECONDS + START_SECONDS) * 1000 },
  async () => {
    const { cuts, events, warmReads } = await cutAgainAndAgain({ modes: TESTED, seed: SEED, seconds: SECONDS })
    const disks = `${TESTED.length} disks (${TESTED.join(', ')})`
    console.log(
      `power cuts: seed ${SEED}: ${disks}, ${cuts} cuts among ${events} events, ${warmReads} warm reads, no finding`,
    )
    // Caches that are empty after every cut would prove nothing.
    expect(warmReads).toBeGreaterThan(0)
  },
)

describe('the rules that the power cut keeps to', () => {
  const call = (kind: CallKind, offset: number, fill: number | null, beganAt: number, endedAt = beganAt + 1) => {
    const bytes = fill === null ? null : Buffer.alloc(2 * SECTOR_BYTES, fill)
    return { kind, file: 0, offset, length: 2 * SECTOR_BYTES, bytes, beganAt, endedAt }
  }
  /** The first bytes of the first `count` sectors, if nothing survives but what is certain, or everything. */
  const left = (calls: RecordedCall[], at: number, survival: 'certain' | 'everything', count = 4) => {
    const events = calls.flatMap((each): RecordedEvent[] => [
      { at: each.beganAt, call: each, what: 'began' },
      { at: each.endedAt, call: each, what: 'ended' },
    ])
    const model = new StorageModel()
    for (const event of events.sort((one, other) => one.at - other.at)) if (event.at <= at) model.apply(event)
    const oldest = survival === 'certain' ? 0 : 100
    const found = model.cut(new SeededRandom(1), { oldest, whole: 0, torn: 0 })
    return Array.from({ length: count }, (_, sector) => found.get(sector)?.[0] ?? 0)
  }

  test('a sync covers what had ended when it began, from when it has ended', () => {
    const calls = [call('write', 0, 1, 0), call('write', 1024, 2, 9, 11), call('sync', 0, null, 10, 20)]
    expect(left(calls, 19, 'certain')).toEqual([0, 0, 0, 0])
    expect(left(calls, 20, 'certain')).toEqual([1, 1, 0, 0])
    expect(left(calls, 20, 'everything')).toEqual([1, 1, 2, 2])
  })

  test('what was sent to a device is stable once a durable write has flushed its cache', () => {
    const calls = [call('write', 0, 1, 0), call('write', 1024, 2, 2), call('push', 0, null, 4)]
    expect(left(calls, 100, 'certain')).toEqual([0, 0, 0, 0])
    calls.push(call('durableWrite', 2048, 3, 10, 12))
    expect(left(calls, 11, 'certain', 6)).toEqual([0, 0, 0, 0, 0, 0])
    expect(left(calls, 12, 'certain', 6)).toEqual([1, 1, 0, 0, 3, 3])
  })

  test('what is older than a stable version does not return; what is later may be there', () => {
    const calls = [call('write', 0, 1, 0), call('write', 512, 2, 2), call('sync', 0, null, 4), call('write', 0, 3, 6)]
    expect(left(calls, 100, 'certain')).toEqual([1, 2, 2, 0])
    expect(left(calls, 100, 'everything')).toEqual([3, 3, 2, 0])
  })

  /** Two pages of zeroes; each step is a write (first sector, count), answered, or a flush. */
  const historyOf = (...steps: ([number, number] | 'flush')[]) => {
    const history = new DiskHistory(new Int32Array(16))
    for (const step of steps) {
      history.end(step === 'flush' ? history.beginFlush() : history.begin(...step, { zeroes: false, fua: false }))
    }
    return { history, cutAt: now() }
  }
  const stamps = (...values: number[]) => Int32Array.from({ length: 16 }, (_, sector) => values[sector] ?? 0)

  test('a sector holds what was flushed, or something later', () => {
    const { history, cutAt } = historyOf([0, 1], 'flush', [0, 1], [1, 1])
    expect(history.faultsAfterPowerCut(stamps(1), cutAt)).toEqual([])
    expect(history.faultsAfterPowerCut(stamps(2), cutAt)).toEqual([])
    expect(history.faultsAfterPowerCut(stamps(1, 3), cutAt)).toEqual([])
    expect(history.faultsAfterPowerCut(stamps(0), cutAt)).toHaveLength(1)
    expect(history.faultsAfterPowerCut(stamps(3), cutAt)).toHaveLength(1)
    expect(history.faultsAfterPowerCut(stamps(1, FOREIGN), cutAt)).toHaveLength(1)
  })

  test('a log leaves a prefix, whole pages, and all that was flushed', () => {
    const { history, cutAt } = historyOf([0, 1], [8, 1], 'flush', [1, 1], [9, 2], [0, 8])
    const prefixes = [
      [1, 0, 0, 0, 0, 0, 0, 0, 2],
      [1, 3, 0, 0, 0, 0, 0, 0, 2],
      [1, 3, 0, 0, 0, 0, 0, 0, 2, 4, 4],
      [5, 5, 5, 5, 5, 5, 5, 5, 2, 4, 4],
    ]
    for (const prefix of prefixes) expect(history.faultsOfPrefix(stamps(...prefix), cutAt)).toEqual([])
    const others = [
      [1, 3],
      [1, 0, 0, 0, 0, 0, 0, 0, 2, 4, 4],
      [1, 3, 0, 0, 0, 0, 0, 0, 2, 4, 0],
      [5, 5, 5, 5, 5, 5, 5, 5, 2],
      [5, 3, 5, 5, 5, 5, 5, 5, 2, 4, 4],
    ]
    for (const other of others) expect(history.faultsOfPrefix(stamps(...other), cutAt)).not.toEqual([])
  })

  test('an origin behind a log is what an earlier power cut could have left', () => {
    const { history, cutAt } = historyOf([0, 1], 'flush', [0, 1], [1, 1], 'flush', [2, 1])
    for (const state of [[0], [1], [2], [1, 3], [0, 0], [2, 3, 4]]) {
      expect(history.faultsOfEarlierPowerCut(stamps(...state), cutAt)).toEqual([])
    }
    for (const state of [
      [0, 3],
      [1, 0, 4],
      [2, 0, 4],
    ]) {
      expect(history.faultsOfEarlierPowerCut(stamps(...state), cutAt)).not.toEqual([])
    }
  })
})

/** Those that show after a power cut, in what a guest reads or in what the cache says of itself. */
const SIMULATED = [
  'a chunk is sealed before it is synced',
  'write-through is stale after a power cut: touched regions are not dropped',
  'what a recovery dropped is not written down',
].map((name) => PLANTED_FAULTS.find((fault) => fault.name === name)!)

if (process.env['VMCACHE_POWER_CUT_FAULTS'] !== undefined) {
  describe('a planted fault is found', () => {
    for (const fault of [...POWER_CUT_FAULTS, ...SIMULATED]) {
      test(fault.name, { timeout: (SECONDS + START_SECONDS) * 1000 }, async () => {
        const main = plantInBuild(temporaryDirectory(), fault)
        const run = cutAgainAndAgain({ modes: TESTED, seed: SEED, seconds: SECONDS, main })
        await expect(run.then(({ cuts }) => `nothing was found by ${cuts} cuts`)).rejects.toThrow(PowerCutFinding)
      })
    }
  })
}

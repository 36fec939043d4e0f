/**
 * D1, D2, D3 (and D4 in write-back) against power cuts of the real engine: every write and sync that an engine process makes on its cache devices and
 * its origin is recorded (test/support/power-cut/ says how, and by which rules bytes survive), the power is cut at random moments of the record,
 * recovery included, and the next engine process runs on what is left.
 *
 * VMCACHE_POWER_CUT_SECONDS says how long (30 in all where not given); VMCACHE_POWER_CUT_SEED repeats the choices of a run, though not the timing of its
 * processes: more seconds make it as good. With VMCACHE_POWER_CUT_KEEP=1 the files of a finding stay, and the message says where.
 *
 * That this can fail: VMCACHE_POWER_CUT_FAULTS=1 plants faults into copies of the build, one after the other, and expects each to be
 * found: those of power-cut/planted-faults.ts, and of the simulation's those that are named below.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { SeededRandom } from '../../src/base/random.js'
import { MODES, type Mode } from '../../src/model/mode.js'
import { PLANTED_FAULTS } from '../simulation/planted-faults.js'
import { Machine, PowerCutFinding, type Life } from '../support/power-cut/machine.js'
import { plantInBuild } from '../support/power-cut/planted-build.js'
import { DEVICE_FAULTS } from '../support/power-cut/planted-faults.js'

const SECONDS = Number(process.env['VMCACHE_POWER_CUT_SECONDS'] ?? 30)
const SEED = Number(process.env['VMCACHE_POWER_CUT_SEED'] ?? Date.now() % 2 ** 32)
const FILE = 'test/integration/power-cut.test.ts'
/** A disk each, of what goes through the cache two. */
const TESTED = MODES.flatMap((mode) => (mode === 'pass-through' ? [] : mode === 'write-around' ? [mode] : [mode, mode]))
const KEEPS = process.env['VMCACHE_POWER_CUT_KEEP'] !== undefined
const START_SECONDS = 60

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

const FAULTY: readonly Mode[] = ['write-through', 'write-through', 'write-through', 'write-through']

/** Those that show in what a guest reads, or in what the cache says of itself, after a power cut in write-through. */
const SIMULATED = [
  'a chunk is sealed before it is synced',
  'write-through is stale after a power cut: touched regions are not dropped',
  'the mark of a touched region is not synced before the origin is written',
  'what a recovery dropped is not written down',
]

if (process.env['VMCACHE_POWER_CUT_FAULTS'] !== undefined) {
  describe('a planted fault is found', () => {
    const faults = [...DEVICE_FAULTS, ...PLANTED_FAULTS.filter(({ name }) => SIMULATED.includes(name))]
    test.each(faults)('$name', { timeout: (SECONDS + START_SECONDS) * 1000 }, async (fault) => {
      const main = plantInBuild(temporaryDirectory(), fault)
      const run = cutAgainAndAgain({ modes: FAULTY, seed: SEED, seconds: SECONDS, main })
      await expect(run).rejects.toThrow(PowerCutFinding)
    })
  })
}

import { expect, test } from 'vitest'
import { loadEngine } from '../support/simulation/engine-modules.ts'
import { habitsOf } from '../support/simulation/habits.ts'
import { World } from '../support/simulation/world.ts'

/**
 * How long fresh seeds are tried: VMCACHE_SIMULATION_SECONDS, 5 by default. A finding prints its seed; VMCACHE_SIMULATION_SEED repeats it.
 * A night's run: VMCACHE_SIMULATION_SECONDS=28800 npx vitest run test/simulation/disk.test.ts
 */
const SECONDS = Number(process.env['VMCACHE_SIMULATION_SECONDS'] ?? 5)
const SEED = process.env['VMCACHE_SIMULATION_SEED']
const LIVES = 4

test(
  'D1 D2 D3: through kills and power cuts nothing acknowledged is lost, nothing stale is read, nothing dropped returns',
  async () => {
    const modules = await loadEngine(new URL('../../src', import.meta.url).href, 'ts')
    const end = Date.now() + SECONDS * 1000
    const first = SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(SEED)
    let runs = 0
    let crashes = 0
    let requests = 0
    for (let seed = first; runs === 0 || (SEED === undefined && Date.now() < end); seed++) {
      const report = await new World(seed, modules, habitsOf(seed)).run(LIVES)
      runs++
      crashes += report.crashes
      requests += report.requests
      expect(
        report.findings,
        `repeat with VMCACHE_SIMULATION_SEED=${seed} npx vitest run test/simulation/disk.test.ts`,
      ).toEqual([])
    }
    console.log(
      `simulation: seeds ${first}..${first + runs - 1}: ${runs} runs, ${crashes} crashes, ${requests} requests, no finding`,
    )
  },
  SECONDS * 1000 + 60_000,
)

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { plant } from '../support/simulation/variant.ts'
import { World } from '../support/simulation/world.ts'
import { PLANTED_FAULTS } from './planted-faults.ts'

/** Runs after which a fault counts as not noticed: VMCACHE_FAULT_RUNS, 200 by default. */
const MAXIMUM_RUNS = Number(process.env['VMCACHE_FAULT_RUNS'] ?? 200)
/** Runs in which a sound copy must be found sound: what notices everything notices nothing. */
const CONTROL_RUNS = 4
const SOURCE = fileURLToPath(new URL('../../src', import.meta.url))

test('a copy without a fault is no finding', async () => {
  const { modules, remove } = await plant(SOURCE, { name: 'none', seed: 1, edits: [] })
  try {
    for (let seed = 1; seed <= CONTROL_RUNS; seed++)
      expect((await new World(seed, modules).run(4)).findings).toEqual([])
  } finally {
    await remove()
  }
}, 600_000)

describe('the simulation notices', () => {
  for (const fault of PLANTED_FAULTS) {
    test(
      fault.name,
      async () => {
        const { modules, remove } = await plant(SOURCE, fault)
        try {
          let found: string | undefined
          let runs = 0
          let { seed } = fault
          for (; found === undefined && runs < MAXIMUM_RUNS; runs++) {
            seed = runs === 0 ? seed : runs
            found = (await new World(seed, modules, fault.habits).run(4)).findings[0]
          }
          expect(found, `nothing was found in ${runs} runs`).toBeDefined()
          console.log(`${fault.name}: seed ${seed}: ${found!.split('\n')[0]}`)
        } finally {
          await remove()
        }
      },
      600_000,
    )
  }
})

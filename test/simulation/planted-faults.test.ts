import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { plant } from '../support/simulation/variant.ts'
import { World } from '../support/simulation/world.ts'
import { PLANTED_FAULTS } from './planted-faults.ts'

/** Runs after which a fault counts as not noticed. A fault that is noticed is noticed much earlier. */
const MAXIMUM_RUNS = Number(process.env['VMCACHE_FAULT_RUNS'] ?? 400)
const SOURCE = fileURLToPath(new URL('../../src', import.meta.url))

describe('the simulation notices', () => {
  for (const fault of PLANTED_FAULTS) {
    test(
      fault.name,
      async () => {
        const { modules, remove } = await plant(SOURCE, fault)
        try {
          let runs = 0
          let found: string | undefined
          for (let seed = 1; found === undefined && runs < MAXIMUM_RUNS; seed++, runs++) {
            found = (await new World(seed, modules).run(4)).findings[0]
          }
          expect(found, `nothing was found in ${runs} runs`).toBeDefined()
          console.log(`${fault.name}: run ${runs}: ${found!.split('\n')[0]}`)
        } finally {
          await remove()
        }
      },
      600_000,
    )
  }
})

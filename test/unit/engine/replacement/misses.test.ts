/**
 * The exact forms against the miss counts of libCacheSim on real traces, to the last miss. By default two sizes of each
 * trace; VMCACHE_TRACES_ALL=1 takes all six.
 */
import { describe, expect, it } from 'vitest'
import { REPLACEMENT_MODULES } from '../../../../src/engine/replacement/modules.js'
import { simulate } from '../../../../src/trace/simulate.js'
import { loadTrace, referenceCells, tracesMissing } from '../../../support/traces.js'

const REFERENCE_NAMES: Record<string, string> = { 's3-fifo': 's3fifo' }
const SPREAD = ['0.05', '0.4']
/** The reference's small queue is empty below twenty pages and then caches nothing at all; ours always holds a page. */
const SMALLEST_S3_FIFO = 20

const cells = referenceCells().filter(
  ({ fraction }) => process.env['VMCACHE_TRACES_ALL'] === '1' || SPREAD.includes(fraction),
)
const traces = tracesMissing === undefined ? [...new Set(cells.map(({ trace }) => trace))] : ['every trace']

describe('misses as libCacheSim counts them', () => {
  it.for(traces)('%s', { timeout: 120_000 }, async (trace, { skip }) => {
    skip(tracesMissing !== undefined, tracesMissing)
    const accesses = await loadTrace(trace)
    for (const { fraction, capacityPages, misses } of cells.filter((cell) => cell.trace === trace)) {
      for (const module of REPLACEMENT_MODULES) {
        if (module.name === 's3-fifo' && capacityPages < SMALLEST_S3_FIFO) continue
        const result = simulate(module.exact(capacityPages), accesses)
        expect(result.misses, `${module.name} with ${fraction} of ${trace}`).toBe(
          misses[REFERENCE_NAMES[module.name] ?? module.name],
        )
      }
    }
  })
})

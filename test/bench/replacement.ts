/**
 * What the log costs each replacement policy on real traces: points lost against the exact form at equal capacity, points behind
 * LRU, bytes written per byte admitted. A few minutes; names as arguments take these policies only, and print every cell.
 *
 *   npm run build && npx tsc -p test/bench/tsconfig.json && node dist/.bench/test/bench/replacement.js [POLICY...]
 */
import { REPLACEMENT_MODULES } from '../../src/engine/replacement/modules.js'
import { type ReplacementPrice, priceCells, priceOf, summaryOf } from '../support/replacement-prices.js'
import { loadTrace, tracesMissing } from '../support/traces.js'

const names = process.argv.slice(2)
const modules = REPLACEMENT_MODULES.filter(({ name }) => names.length === 0 || names.includes(name))
const prices = new Map<string, ReplacementPrice[]>(modules.map(({ name }) => [name, []]))

if (tracesMissing !== undefined) {
  console.error(tracesMissing)
  process.exit(1)
}
const cells = priceCells()
for (const trace of new Set(cells.map((cell) => cell.trace))) {
  const accesses = await loadTrace(trace)
  for (const cell of cells.filter((cell) => cell.trace === trace)) {
    for (const module of modules) {
      const price = priceOf(module, accesses, cell)
      prices.get(module.name)!.push(price)
      if (names.length > 0) {
        print(`${module.name} ${trace}`, [
          `${cell.fraction} (${cell.capacityPages})`,
          price.missPercent.toFixed(2),
          price.pointsLost.toFixed(2),
          price.pointsBehindLru.toFixed(2),
          price.writtenPerAdmitted.toFixed(2),
        ])
      }
    }
  }
}
print('', ['mean lost', 'most lost', 'behind LRU', 'mean written', 'most written'])
for (const [name, ofModule] of prices) {
  const summary = summaryOf(ofModule)
  print(name, [
    summary.meanPointsLost.toFixed(2),
    summary.mostPointsLost.toFixed(2),
    summary.mostPointsBehindLru.toFixed(2),
    summary.meanWritten.toFixed(3),
    summary.mostWritten.toFixed(2),
  ])
}

function print(title: string, columns: readonly string[]): void {
  console.log(title.padEnd(28) + columns.map((column) => column.padStart(16)).join(''))
}

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NOWHERE, PageTable } from '../../../../src/engine/index/page-table.js'

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const repeat = `repeat with: FUZZ_SEED=${seed} npx vitest run test/unit/engine/index/page-table.test.ts`

/** A table with the pages of its locations beside it, as the columns of chunks are. */
class TableAndModel {
  readonly pages: number[] = []
  readonly table = new PageTable((location) => this.pages[location]!)
  readonly model = new Map<number, number>()

  set(page: number): void {
    const location = this.pages.push(page) - 1
    expect(this.table.set(page, location)).toBe(this.model.get(page) ?? NOWHERE)
    this.model.set(page, location)
  }

  delete(page: number): void {
    expect(this.table.delete(page)).toBe(this.model.get(page) ?? NOWHERE)
    this.model.delete(page)
  }

  check(pages: Iterable<number>): void {
    expect(this.table.size).toBe(this.model.size)
    for (const page of pages) {
      const expected = this.model.get(page) ?? NOWHERE
      if (this.table.find(page) !== expected) expect.fail(`page ${page} is not at ${expected}`)
      // Right whatever the hint is: where the page before is, where any other page or version is.
      for (const hint of [this.model.get(page - 1) ?? 0, expected - 1, expected, page % (this.pages.length + 1)]) {
        if (this.table.findBehind(hint, page) === expected) continue
        expect.fail(`page ${page} is not at ${expected}, looked for behind ${hint}`)
      }
    }
  }
}

/** Pages from few enough that they meet again, or from everywhere. */
const page = fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 0xffff_ffff }), fc.constant(0xffff_ffff))
const command = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), page }),
  fc.record({ kind: fc.constant('delete' as const), page }),
  fc.record({ kind: fc.constant('set-run' as const), page: fc.nat({ max: 0xffff_0000 }), count: fc.nat({ max: 400 }) }),
  fc.record({
    kind: fc.constant('delete-run' as const),
    page: fc.nat({ max: 0xffff_0000 }),
    count: fc.nat({ max: 400 }),
  }),
  fc.constant({ kind: 'clear' as const }),
)

test('agrees with a map, whatever is set and deleted', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 60 }), (commands) => {
      const both = new TableAndModel()
      const seen = new Set<number>([0, 1, 0xffff_ffff])
      const each = (step: { page: number; count?: number }, use: (page: number) => void): void => {
        for (let index = 0; index < (step.count ?? 1); index++) {
          seen.add(step.page + index)
          use(step.page + index)
        }
      }
      for (const step of commands) {
        if (step.kind === 'clear') {
          both.table.clear()
          both.model.clear()
        } else if (step.kind === 'set' || step.kind === 'set-run') each(step, (at) => both.set(at))
        else each(step, (at) => both.delete(at))
      }
      both.check(seen)
    }),
    {
      seed,
      numRuns: 200,
      reporter: (run) => {
        if (run.failed) throw new Error(`${fc.defaultReportMessage(run)}\n${repeat}`, { cause: run.errorInstance })
      },
    },
  )
})

test('pages that were placed together are found without the hash; one that was replaced or deleted is not', () => {
  let lookups: number[] = []
  const pages = [10, 11, 12, 13, 12]
  const table = new PageTable((location) => {
    lookups.push(location)
    return pages[location]!
  })
  pages.forEach((page, location) => table.set(page, location))
  const findBehind = (location: number, page: number): unknown => {
    lookups = []
    return { found: table.findBehind(location, page), lookups }
  }
  expect(findBehind(0, 11)).toEqual({ found: 1, lookups: [1] })
  // Location 2 is not looked at: a newer version of page 12 is elsewhere.
  expect(findBehind(1, 12)).toEqual({ found: 4, lookups: expect.not.arrayContaining([2]) as number[] })
  table.delete(13)
  expect(findBehind(2, 13)).toEqual({ found: NOWHERE, lookups: expect.not.arrayContaining([3]) as number[] })
  table.clear()
  expect(findBehind(0, 11)).toEqual({ found: NOWHERE, lookups: [] })
})

describe('with many pages', () => {
  test.each([
    ['one after the other', (index: number) => index],
    ['far apart', (index: number) => index * 4096],
    ['all over the disk', (index: number) => Math.imul(index, 0x9e37_79b1) >>> 0],
  ])('%s: all are found, half are deleted, the others are still found', (_name, pageOf) => {
    const both = new TableAndModel()
    const pages = Array.from({ length: 100_000 }, (_, index) => pageOf(index))
    for (const page of pages) both.table.set(page, both.pages.push(page) - 1)
    pages.forEach((page, location) => both.model.set(page, location))
    both.check(pages)
    for (const page of pages.filter((_, index) => index % 2 === 0)) {
      both.table.delete(page)
      both.model.delete(page)
    }
    both.check(pages)
  })

  test('takes at most 8 bytes a page while it grows, and gives back what it does not need', () => {
    const pages: number[] = []
    const table = new PageTable((location) => pages[location]!)
    let most = 0
    for (let page = 0; page < 300_000; page++) {
      table.set(page * 3, pages.push(page * 3) - 1)
      if (page > 50_000 && page % 1000 === 0) most = Math.max(most, table.bytes / table.size)
    }
    expect(most).toBeLessThan(8)
    for (let page = 0; page < 290_000; page++) table.delete(page * 3)
    expect(table.size).toBe(10_000)
    expect(table.bytes / table.size).toBeLessThan(11)
  })
})

describe('a table that is filled at once', () => {
  test('finds what one by one would have found, where the first of a page is put last', () => {
    fc.assert(
      fc.property(fc.array(page, { maxLength: 3000 }), fc.nat({ max: 200 }), (pages, more) => {
        const filled = new TableAndModel()
        filled.pages.push(...pages)
        const locations = pages.map((_, location) => location)
        filled.table.fill(Uint32Array.from([...pages, 1]), Uint32Array.from([...locations, 0]), pages.length)
        for (const location of locations.toReversed()) filled.model.set(pages[location]!, location)
        filled.check(pages)
        for (const location of locations)
          expect(filled.table.holds(location)).toBe(filled.model.get(pages[location]!) === location)
        // And goes on as any other.
        for (let each = 0; each < more; each++) filled.set(each * 7)
        for (const each of pages.slice(0, more)) filled.delete(each)
        filled.check([...pages, ...Array.from({ length: more }, (_, each) => each * 7)])
      }),
      { seed, numRuns: 200 },
    )
  })

  test('takes no more memory than one that grew', () => {
    const pages = Uint32Array.from({ length: 500_000 }, (_, each) => each * 3)
    const filled = new PageTable((location) => pages[location]!)
    filled.fill(
      pages,
      pages.map((_, location) => location),
      pages.length,
    )
    expect(filled.size).toBe(pages.length)
    expect(filled.bytes / pages.length).toBeLessThan(8)
  })
})

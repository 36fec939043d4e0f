import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type PageAccesses, loadAccesses } from '../../src/trace/page-accesses.js'

/**
 * Real block traces with reference miss counts (README.md beside them says whose and how computed). They are other people's
 * data and not part of this repository: VMCACHE_TRACES names the directory, else it is looked for beside the checkout that
 * tests run in.
 */
/** Where the traces are, if they are anywhere. */
export const traceDirectory = process.env['VMCACHE_TRACES'] ?? resolve('..', 'shared', 'traces')
const referencePath = join(traceDirectory, 'miss-ratios.json')

/** Why tests over traces are skipped; undefined where they can run. */
export const tracesMissing = existsSync(referencePath)
  ? undefined
  : `no traces: ${referencePath} does not exist (set VMCACHE_TRACES)`

/** One trace at one cache size. */
export interface ReferenceCell {
  readonly trace: string
  /** Of the trace's unique pages, as the reference names it: `0.01`. */
  readonly fraction: string
  readonly capacityPages: number
  /** Exact miss counts by the reference's name of the policy. */
  readonly misses: Readonly<Record<string, number>>
}

export function referenceCells(): ReferenceCell[] {
  if (tracesMissing !== undefined) return []
  type Cell = { _blocks: number; _misses: Record<string, number> }
  const reference = JSON.parse(readFileSync(referencePath, 'utf8')) as Record<string, Record<string, Cell>>
  return Object.entries(reference).flatMap(([trace, cells]) =>
    Object.entries(cells)
      .filter(([fraction]) => fraction.startsWith('0.'))
      .map(([fraction, cell]) => ({ trace, fraction, capacityPages: cell._blocks, misses: cell._misses })),
  )
}

export function loadTrace(trace: string): Promise<PageAccesses> {
  return loadAccesses(join(traceDirectory, `${trace}.csv.gz`))
}

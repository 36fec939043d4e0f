import type { ControlPlane } from './control-plane.js'
import type { Operations } from './operation.js'
import { select } from './targets.js'
import { diskNotFound } from './inventory.js'

/** Counters of disks and caches; names are disks or patterns, none means all. */
export function stats({ engine, inventory }: ControlPlane): Operations['stats.show'] {
  return async ({ names, window }) => {
    if (names.length === 0) return engine.stats([], window)
    const { names: disks, unknown } = select({ names, all: false, exclude: [] }, [...inventory.disks.keys()])
    if (unknown[0] !== undefined) throw diskNotFound(unknown[0])
    const served = new Set((await engine.disks()).map(({ disk }) => disk))
    const wanted = disks.filter((disk) => served.has(disk))
    return wanted.length === 0 ? { window, disks: [], caches: [] } : engine.stats(wanted, window)
  }
}

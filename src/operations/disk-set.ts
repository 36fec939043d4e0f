import { VmcacheError } from '../base/errors.js'
import { loadReplacement } from '../engine/replacement/modules.js'
import { isMode, MODES, type Mode } from '../model/mode.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { DiskRecord } from '../state/disk-store.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { disksOf, exclusively, knownCache, knownDisk } from './inventory.js'
import { checkLimits } from './limits.js'
import type { Operations } from './operation.js'
import { grantedMode, releaseIfComplete } from './origin-guard.js'
import { checkPromisedSpace } from './promised-space.js'
import { withUndo } from './undo.js'

type Settings = Pick<DiskRecord, 'mode' | 'replacement' | 'minBytes' | 'maxBytes' | 'shares'>

/** Changes a disk's own settings while it is served. */
export function diskSet(plane: ControlPlane): Operations['disk.set'] {
  const { engine, inventory, state } = plane
  return async (request) => {
    const { name, dryRun } = request
    const record = knownDisk(inventory, name)
    const before = settingsOf(record)
    const after: Settings = { ...before, ...wantedSettings(request) }
    const different = (Object.keys(after) as (keyof Settings)[]).filter((key) => after[key] !== before[key])
    await check(plane, record, after)
    const steps = different.map((key) => `set ${key} of disk ${name} to ${after[key]}, it is ${before[key]}`)
    if (dryRun || different.length === 0) {
      const result = { changed: different.length > 0, disk: await diskDocument(plane, name) }
      return dryRun ? { ...result, dryRun, steps } : result
    }
    await exclusively(inventory, `disk ${name}`, () =>
      withUndo(async (undo) => {
        const changed = { ...record, ...after }
        const served = (await engine.disks()).find(({ disk }) => disk === name)
        if (served !== undefined) {
          const mode = served.state === 'direct' ? after.mode : await grantedMode(plane, changed)
          await engine.change(name, { ...after, mode })
          undo(`set disk ${name} back`, async () =>
            engine.change(name, { ...before, mode: await grantedMode(plane, record) }),
          )
        }
        await state.disks.save(changed)
        inventory.disks.set(name, changed)
        await releaseIfComplete(plane, changed)
      }),
    )
    return { changed: true, disk: await diskDocument(plane, name) }
  }
}

function settingsOf({ mode, replacement, minBytes, maxBytes, shares }: DiskRecord): Settings {
  return { mode, replacement, minBytes, maxBytes, shares }
}

/** What the request names; a key that is absent stays. */
function wantedSettings({ mode, replacement, minBytes, maxBytes, shares }: RequestOf<'disk.set'>): Partial<Settings> {
  return {
    ...(mode === undefined ? {} : { mode: checkedMode(mode) }),
    ...(replacement === undefined ? {} : { replacement }),
    ...(minBytes === undefined ? {} : { minBytes }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(shares === undefined ? {} : { shares }),
  }
}

export function checkedMode(mode: string): Mode {
  if (isMode(mode)) return mode
  throw new VmcacheError('USAGE', `mode ${JSON.stringify(mode)} is not known`, { hint: `use ${MODES.join(', ')}` })
}

async function check(plane: ControlPlane, record: DiskRecord, after: Settings): Promise<void> {
  const { engine, inventory } = plane
  checkLimits(after, knownCache(inventory, record.cache).chunkBytes)
  if (after.replacement !== record.replacement) await loadReplacement(after.replacement)
  const open = engine.caches().find((cache) => cache.name === record.cache)
  if (open === undefined || after.minBytes <= record.minBytes) return
  const others = disksOf(inventory, record.cache).filter((disk) => disk.name !== record.name)
  checkPromisedSpace(open, others, after.minBytes)
}

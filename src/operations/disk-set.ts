import { VmcacheError } from '../base/errors.js'
import { loadReplacement } from '../engine/replacement/modules.js'
import { isMode, MODES, type Mode } from '../model/mode.js'
import type { RequestOf } from '../protocol/control/routes.js'
import type { DiskRecord } from '../state/disk-store.js'
import { shareOf, sharesBeside } from './allocation.js'
import type { ControlPlane } from './control-plane.js'
import { diskDocument } from './disk-document.js'
import { drainDisk } from './drain-disk.js'
import { exclusively, knownCache, knownDisk } from './inventory.js'
import { checkLimits } from './limits.js'
import type { Operations } from './operation.js'
import { grantedMode, releaseIfComplete } from './origin-guard.js'
import { checkPromisedSpace } from './promised-space.js'
import { withUndo } from './undo.js'
import { checkWriteBack, mostBytes } from './write-back-limits.js'

type Setting = string | number | null
type Settings = Pick<DiskRecord, 'mode' | 'replacement' | 'minBytes' | 'maxBytes' | 'shares' | 'writeBack'>

/** Changes a disk's own settings while it is served. */
export function diskSet(plane: ControlPlane): Operations['disk.set'] {
  const { engine, inventory, state } = plane
  return async (request, context) => {
    const { name, dryRun } = request
    const record = knownDisk(inventory, name)
    const before = settingsOf(record)
    const after = settingsAfter(before, request)
    const steps = differences(flat(before), flat(after)).map(
      ([key, is, wanted]) => `set ${key} of disk ${name} to ${wanted}, it is ${is}`,
    )
    await check(plane, record, after)
    if (dryRun || steps.length === 0) {
      const result = { changed: steps.length > 0, disk: await diskDocument(plane, name) }
      return dryRun ? { ...result, dryRun, steps } : result
    }
    await exclusively(inventory, `disk ${name}`, () =>
      withUndo(async (undo) => {
        const changed = { ...record, ...after }
        const served = (await engine.disks()).find(({ disk }) => disk === name)
        if (served !== undefined) {
          const mode = served.state === 'direct' ? after.mode : await grantedMode(plane, changed)
          inventory.changingModes.set(name, mode)
          await drainDisk(plane, name, context, null, (draining) =>
            engine.change(name, { ...after, ...shareOf(inventory, changed), mode }, draining),
          ).finally(() => inventory.changingModes.delete(name))
          undo(`set disk ${name} back`, async () =>
            engine.change(name, { ...before, ...shareOf(inventory, record), mode: await grantedMode(plane, record) }),
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

function settingsOf({ mode, replacement, minBytes, maxBytes, shares, writeBack }: DiskRecord): Settings {
  return { mode, replacement, minBytes, maxBytes, shares, writeBack }
}

function flat({ writeBack, ...settings }: Settings): Record<string, Setting> {
  return { ...settings, ...writeBack }
}

function differences(before: Record<string, Setting>, after: Record<string, Setting>): [string, Setting, Setting][] {
  return Object.keys(after).flatMap((key) => (after[key] === before[key] ? [] : [[key, before[key], after[key]]]))
}

/** What the request names; a key that is absent stays. */
function settingsAfter(before: Settings, request: RequestOf<'disk.set'>): Settings {
  const { mode, replacement, minBytes, maxBytes, shares, writeBack } = request
  return {
    ...before,
    ...(mode === undefined ? {} : { mode: checkedMode(mode) }),
    ...(replacement === undefined ? {} : { replacement }),
    ...(minBytes === undefined ? {} : { minBytes }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(shares === undefined ? {} : { shares }),
    writeBack: { ...before.writeBack, ...writeBack },
  }
}

export function checkedMode(mode: string): Mode {
  if (isMode(mode)) return mode
  throw new VmcacheError('USAGE', `mode ${JSON.stringify(mode)} is not known`, { hint: `use ${MODES.join(', ')}` })
}

async function check(plane: ControlPlane, record: DiskRecord, after: Settings): Promise<void> {
  const { engine, inventory } = plane
  checkLimits(after, knownCache(inventory, record.cache).chunkBytes)
  checkWriteBack(after.writeBack, mostBytes(plane, { ...record, ...after }))
  if (after.replacement !== record.replacement) await loadReplacement(after.replacement)
  const open = engine.caches().find((cache) => cache.name === record.cache)
  if (open === undefined || after.minBytes <= record.minBytes) return
  const { minBytes } = shareOf(inventory, { ...record, ...after })
  checkPromisedSpace(open, sharesBeside(inventory, record.cache, record.name), { name: record.name, minBytes })
}

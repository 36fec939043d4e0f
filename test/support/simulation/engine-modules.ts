/**
 * The parts of the data plane that a simulation runs, loaded from one root: the source itself, or a copy of it that was broken on
 * purpose.
 */
import type * as disk from '../../../src/engine/disk/disk.ts'
import type * as origin from '../../../src/engine/origin/origin.ts'
import type * as reader from '../../../src/engine/log/log-reader.ts'
import type * as openLog from '../../../src/engine/log/open-log.ts'
import type * as recovery from '../../../src/engine/log/recovery.ts'
import type * as freeHeader from '../../../src/engine/log/free-header.ts'
import type * as pool from '../../../src/engine/pool/pool.ts'
import type * as whoGives from '../../../src/engine/pool/who-gives.ts'
import type * as replacement from '../../../src/engine/replacement/modules.ts'

export interface EngineModules {
  readonly Disk: typeof disk.Disk
  readonly OriginError: typeof origin.OriginError
  readonly LogReader: typeof reader.LogReader
  readonly openLog: typeof openLog.openLog
  readonly planRecovery: typeof recovery.planRecovery
  readonly Pool: typeof pool.Pool
  readonly writeFreeHeader: typeof freeHeader.writeFreeHeader
  readonly formatDevices: typeof pool.formatDevices
  readonly whoGives: typeof whoGives.whoGives
  readonly REPLACEMENT_MODULES: typeof replacement.REPLACEMENT_MODULES
}

/** @param root URL of a folder with the layout of src; `extension` of its files */
export async function loadEngine(root: string, extension: 'ts' | 'js'): Promise<EngineModules> {
  const load = async (path: string): Promise<object> =>
    (await import(/* @vite-ignore */ `${root}/${path}.${extension}`)) as object
  return Object.assign(
    {},
    await load('engine/disk/disk'),
    await load('engine/origin/origin'),
    await load('engine/log/log-reader'),
    await load('engine/log/open-log'),
    await load('engine/log/recovery'),
    await load('engine/log/free-header'),
    await load('engine/pool/pool'),
    await load('engine/pool/who-gives'),
    await load('engine/replacement/modules'),
  ) as EngineModules
}

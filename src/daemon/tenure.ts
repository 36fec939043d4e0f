import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../base/errors.js'
import type { PreviousEnd } from '../operations/previous-end.js'
import { writeDurably } from './write-durably.js'

/**
 * A *tenure* is the time in which one engine process was the only writer of this host's origins. The supervisor writes its
 * start before the engine is spawned and its end after the process is reaped, so the next engine knows until when nobody
 * else can have written, and how it ended. One file, STATE-DIR/tenure.json.
 */
export interface Tenure {
  /** Of the kernel that it ran under: another one means that page caches were lost in between. */
  readonly bootId: string
  readonly supervisorId: string
  readonly startedAt: string
  /** Null while the engine runs, and for ever where nobody saw its end. */
  readonly end: { readonly clean: boolean; readonly at: string } | null
  /**
   * What the engine was told of the one before it, until it has dealt with that (everything is served again). An engine that
   * ended earlier leaves it to the next one.
   */
  readonly unsettled: PreviousEnd | null
}

/** From the best to the worst that the next engine may find. */
const ENDINGS: readonly PreviousEnd['kind'][] = ['none', 'clean', 'killed', 'lost', 'power-cut']

/** How the engine of `tenure`, and those whose end it has not dealt with, ended, for an engine that starts now. */
export function previousEnd(tenure: Tenure | null, now: { bootId: string; supervisorId: string }): PreviousEnd {
  if (tenure === null) return { kind: 'none', at: null, sameSupervisor: false }
  const sameBoot = tenure.bootId === now.bootId
  const sameSupervisor = sameBoot && tenure.supervisorId === now.supervisorId
  const own = ending(tenure.end === null ? 'lost' : tenure.end.clean ? 'clean' : 'killed', sameBoot)
  const before = tenure.unsettled
  return {
    kind: before === null ? own : worse(own, ending(before.kind, sameBoot)),
    at: tenure.end?.at ?? null,
    sameSupervisor: sameSupervisor && (before === null || before.sameSupervisor || before.kind === 'none'),
  }
}

/** A kill that is found after the kernel has gone as well is a power cut: what was not flushed may be gone. */
function ending(kind: PreviousEnd['kind'], sameBoot: boolean): PreviousEnd['kind'] {
  return sameBoot || kind === 'none' || kind === 'clean' ? kind : 'power-cut'
}

function worse(one: PreviousEnd['kind'], other: PreviousEnd['kind']): PreviousEnd['kind'] {
  return ENDINGS.indexOf(one) > ENDINGS.indexOf(other) ? one : other
}

export interface TenureFile {
  /** Null where there is none. */
  read(): Promise<Tenure | null>
  write(tenure: Tenure): Promise<void>
}

export function tenureFile(stateDir: string): TenureFile {
  const path = join(stateDir, 'tenure.json')
  return {
    async read() {
      try {
        return parseTenure(await readFile(path, 'utf8'))
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return null
        throw error
      }
    },
    write: (tenure) => writeDurably(path, `${JSON.stringify(tenure)}\n`),
  }
}

/** A file that is no tenure is one whose end nobody saw, under no kernel that we know: the most careful reading. */
const UNREADABLE: Tenure = { bootId: '', supervisorId: '', startedAt: '', end: null, unsettled: null }

function parseTenure(text: string): Tenure {
  try {
    const tenure = JSON.parse(text) as Tenure
    const { bootId, supervisorId, startedAt, end, unsettled } = tenure
    const isWhole =
      [bootId, supervisorId, startedAt].every((value) => typeof value === 'string') &&
      (end === null || (typeof end.clean === 'boolean' && typeof end.at === 'string')) &&
      (unsettled === null || ENDINGS.includes(unsettled.kind))
    return isWhole ? tenure : UNREADABLE
  } catch {
    return UNREADABLE
  }
}

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../base/errors.js'
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
}

/**
 * How the engine before this one ended.
 *
 * `none`: there was none. `clean`: it closed everything. `killed`: its supervisor saw it die, so its writes ended by `at`.
 * `lost`: supervisor and engine died together and the kernel lived on: every write that it made is there, nobody saw when
 * the last one was. `power-cut`: the kernel is another one: what was not flushed may be gone.
 */
export interface PreviousEnd {
  readonly kind: 'none' | 'clean' | 'killed' | 'lost' | 'power-cut'
  /** RFC 3339; null where nobody saw it. */
  readonly at: string | null
  /** Whether the same supervisor has held the locks and sockets from that end until now. */
  readonly sameSupervisor: boolean
  readonly sameBoot: boolean
}

/** How the engine of `tenure` ended, as seen by a supervisor under the kernel `bootId`. */
export function previousEnd(tenure: Tenure | null, now: { bootId: string; supervisorId: string }): PreviousEnd {
  if (tenure === null) return { kind: 'none', at: null, sameSupervisor: false, sameBoot: false }
  const sameBoot = tenure.bootId === now.bootId
  const sameSupervisor = sameBoot && tenure.supervisorId === now.supervisorId
  if (tenure.end !== null) {
    // A kill that a supervisor saw, then a power cut before the next engine: what the dead one had not flushed may be gone.
    const kind = tenure.end.clean ? 'clean' : sameBoot ? 'killed' : 'power-cut'
    return { kind, at: tenure.end.at, sameSupervisor, sameBoot }
  }
  return { kind: sameBoot ? 'lost' : 'power-cut', at: null, sameSupervisor, sameBoot }
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
function parseTenure(text: string): Tenure {
  const unknown: Tenure = { bootId: '', supervisorId: '', startedAt: '', end: null }
  try {
    const { bootId, supervisorId, startedAt, end } = JSON.parse(text) as Partial<Record<keyof Tenure, unknown>>
    if (typeof bootId !== 'string' || typeof supervisorId !== 'string' || typeof startedAt !== 'string') return unknown
    if (end === null) return { bootId, supervisorId, startedAt, end }
    const { clean, at } = end as { clean?: unknown; at?: unknown }
    if (typeof clean !== 'boolean' || typeof at !== 'string') return unknown
    return { bootId, supervisorId, startedAt, end: { clean, at } }
  } catch {
    return unknown
  }
}

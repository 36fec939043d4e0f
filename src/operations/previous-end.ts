/**
 * How the engine before this one ended, as the supervisor saw it.
 *
 * `none`: there was none. `clean`: it closed everything. `killed`: its supervisor saw it die, so its writes ended by `at`.
 * `lost`: supervisor and engine died together and the kernel lived on: every write that it made is there, nobody saw when
 * the last one was. `power-cut`: the kernel is another one: what was not flushed may be gone.
 */
export interface PreviousEnd {
  readonly kind: 'none' | 'clean' | 'killed' | 'lost' | 'power-cut'
  /** RFC 3339, in this host's clock; null where nobody saw it. */
  readonly at: string | null
  /** Whether the same supervisor has held the locks and sockets from that end until now. */
  readonly sameSupervisor: boolean
}

/** What runs in a place for checkpoints, and ends when the place is closed. */
export interface UnderWay {
  /** Runs `work` with a signal that is raised by `signal` and by {@link close}. */
  run<Result>(signal: AbortSignal | null, work: (signal: AbortSignal) => Promise<Result>): Promise<Result>
  /** Cancels what runs and waits for its end. */
  close(): Promise<void>
}

export function createUnderWay(): UnderWay {
  const closing = new AbortController()
  const running = new Set<Promise<unknown>>()
  return {
    async run(signal, work) {
      const promise = work(signal === null ? closing.signal : AbortSignal.any([signal, closing.signal]))
      running.add(promise)
      try {
        return await promise
      } finally {
        running.delete(promise)
      }
    },
    async close() {
      closing.abort()
      await Promise.allSettled(running)
    },
  }
}

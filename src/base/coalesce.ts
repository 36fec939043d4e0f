/**
 * Joins calls of something that covers all that was done before it began, like a flush: at most one run is under way and
 * one waits. A call gets the outcome of the first run that begins after it.
 */
export function coalesce<Result>(run: () => Promise<Result>): () => Promise<Result> {
  let current: Promise<Result> | undefined
  let next: Promise<Result> | undefined

  const begin = (): Promise<Result> => {
    const started = run().finally(() => {
      if (current === started) current = undefined
    })
    current = started
    return started
  }

  return () => {
    // One that waits has not begun, even if what it waited for has just ended.
    if (next !== undefined) return next
    if (current === undefined) return begin()
    next = current
      .catch(() => undefined)
      .then(() => {
        next = undefined
        return begin()
      })
    return next
  }
}

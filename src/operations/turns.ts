/** Runs work on the same object one after the other, in the order in which it came; work on different objects does not wait. */
export type Turns = <Result>(object: string, work: () => Promise<Result>) => Promise<Result>

export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return async (object, work) => {
    const before = last.get(object)
    const turn = before === undefined ? work() : before.then(work, work)
    last.set(object, turn)
    try {
      return await turn
    } finally {
      if (last.get(object) === turn) last.delete(object)
    }
  }
}

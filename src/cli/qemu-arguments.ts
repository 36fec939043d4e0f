/** A command line, and what follows its first `--`: arguments of another program, which are no flags of ours. */
export function qemuArguments(words: readonly string[]): { before: string[]; after: string[] } {
  const end = words.indexOf('--')
  if (end < 0) return { before: [...words], after: [] }
  return { before: words.slice(0, end), after: words.slice(end + 1) }
}

/** A command line that a shell takes apart into exactly these words. */
export function commandLine(words: readonly string[]): string {
  return ['vmcache', ...words].map(quoted).join(' ')
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

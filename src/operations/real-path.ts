import { realpath } from 'node:fs/promises'

/** The path without links, or as it is where nothing is there. */
export function realPath(path: string): Promise<string> {
  return realpath(path).catch(() => path)
}

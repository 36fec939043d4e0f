import { readFile } from 'node:fs/promises'

/** Columns of /proc/net/unix: num, references, protocol, flags, type, state, inode, path. */
const STATE = 5
const PATH = 7
const CONNECTED = '03'

/** How many clients are connected to each of the listening unix sockets `paths`, as the kernel sees it. */
export async function connectedClients(
  paths: readonly string[],
  table = '/proc/net/unix',
): Promise<Map<string, number>> {
  const counts = new Map(paths.map((path) => [path, 0]))
  for (const line of (await readFile(table, 'utf8')).split('\n')) {
    // A connection carries the path of the socket that accepted it.
    const columns = line.trim().split(/ +/)
    const path = columns.slice(PATH).join(' ')
    const count = counts.get(path)
    if (count !== undefined && columns[STATE] === CONNECTED) counts.set(path, count + 1)
  }
  return counts
}

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode, VmcacheError } from '../base/errors.js'
import type { Random } from '../base/random.js'
import { writeDurably } from './write-durably.js'

/** The id of this host, from STATE-DIR/host-id; made at the first start and never changed: stamps and leases carry it. */
export async function hostId(stateDir: string, random: Random): Promise<string> {
  const path = join(stateDir, 'host-id')
  const known = await readFile(path, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  })
  if (known === null) {
    const id = random.id()
    await writeDurably(path, `${id}\n`)
    return id
  }
  const id = known.trim()
  if (/^[0-9a-f]{32}$/.test(id)) return id
  throw new VmcacheError('CORRUPT', `${path} does not hold a host id: expected 32 hexadecimal digits`, {
    hint: 'put the file back from a copy; the stamps beside the images name the id. Without it this is another host to them',
  })
}

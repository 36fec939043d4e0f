import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VmcacheError } from '../base/errors.js'
import { lockRange } from '../base/system-calls.js'

/**
 * Makes this process the only supervisor of a directory, until it and every engine that inherited the descriptor are gone.
 * IN_USE where another one is. Returns the descriptor.
 */
export async function lockInstance(directory: string): Promise<number> {
  const path = join(directory, 'supervisor.lock')
  const file = await open(path, 'a+', 0o600)
  if (await lockRange({ fd: file.fd, path }, 'exclusive', 0, 0)) {
    await file.truncate(0)
    await file.write(`${process.pid}\n`)
    // The lock belongs to the open file, which from now on nobody closes.
    openLocks.add(file)
    return file.fd
  }
  const holder = (await readFile(path, 'utf8')).trim()
  await file.close()
  throw new VmcacheError(
    'IN_USE',
    `an engine already runs in ${directory} (its supervisor is process ${holder || '?'})`,
    {
      hint: 'one engine serves every user of a machine; another one needs its own --state-dir and --run-dir',
    },
  )
}

/** A file handle that is collected closes its descriptor. */
const openLocks = new Set<object>()

import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../base/clock.js'
import { VmcacheError } from '../base/errors.js'
import { isRunning, lockRange } from '../base/system-calls.js'

/** How long the engine of a supervisor that was killed may take to notice that. */
const ORPHAN_MILLISECONDS = 5000
const RETRY_MILLISECONDS = 50

/**
 * Makes this process the only supervisor of a directory, until it and every engine that inherited the descriptor are gone.
 * IN_USE where another one is. Returns the descriptor.
 */
export async function lockInstance(directory: string, clock: Clock): Promise<number> {
  const path = join(directory, 'supervisor.lock')
  const deadline = clock.monotonic() + ORPHAN_MILLISECONDS
  const file = await open(path, 'a+', 0o600)
  while (!(await lockRange({ fd: file.fd, path }, 'exclusive', 0, 0))) {
    const holder = (await readFile(path, 'utf8')).trim()
    if (isRunning(Number(holder)) || clock.monotonic() > deadline) {
      await file.close()
      throw new VmcacheError(
        'IN_USE',
        `an engine already runs in ${directory} (its supervisor is process ${holder || '?'})`,
        { hint: 'one engine serves every user of a machine; another one needs its own --state-dir and --run-dir' },
      )
    }
    await setTimeout(RETRY_MILLISECONDS)
  }
  await file.truncate(0)
  await file.write(`${process.pid}\n`)
  // The lock belongs to the open file, which from now on nobody closes.
  openLocks.add(file)
  return file.fd
}

/** A file handle that is collected closes its descriptor. */
const openLocks = new Set<object>()

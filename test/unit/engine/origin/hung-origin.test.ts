/** An origin that hangs for real: a file on a file system that is frozen. Needs root and loop devices. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { openOrigin } from '../../../../src/engine/origin/open-origin.js'
import { attachLoopDevice, whyNoLoopDevices } from '../../../support/block-devices.js'
import { testUnless } from '../../../support/conditions.js'
import { findProgram } from '../../../support/programs.js'

const MEBIBYTE = 1024 * 1024
const missing = findProgram('fsfreeze') === null ? 'fsfreeze is not installed' : await whyNoLoopDevices()

testUnless(missing, 'S4: an origin that hangs keeps its own threads of the pool, and no others', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmcache-hung-'))
  const mountPoint = join(directory, 'mount')
  await mkdir(mountPoint)
  const storage = join(directory, 'storage')
  await writeFile(storage, Buffer.alloc(16 * MEBIBYTE))
  const loop = await attachLoopDevice(storage)
  execFileSync('mke2fs', ['-q', '-t', 'ext4', loop.path])
  execFileSync('mount', [loop.path, mountPoint])
  const [hangingPath, healthyPath] = [join(mountPoint, 'disk.raw'), join(directory, 'healthy.raw')]
  for (const path of [hangingPath, healthyPath]) await writeFile(path, Buffer.alloc(MEBIBYTE))
  // The pool of this process has four threads: a fifth call would wait for ever if the limit did not hold it back.
  const hanging = await openOrigin(hangingPath, { readOnly: false, fileCallsInFlight: 3 })
  const healthy = await openOrigin(healthyPath, { readOnly: false })
  let writes: Promise<void>[] = []
  try {
    execFileSync('fsfreeze', ['--freeze', mountPoint])
    try {
      writes = Array.from({ length: 16 }, (_, index) => hanging.write(index * 4096, Buffer.alloc(4096, 1)))
      await sleep(50)
      const others = Array.from({ length: 20 }, (_, index) => healthy.write(index * 4096, Buffer.alloc(4096, 2)))
      expect(await Promise.race([Promise.all(others).then(() => 'served'), sleep(5000, 'stuck')])).toBe('served')
      expect(await Promise.race([Promise.any(writes).then(() => 'written'), sleep(50, 'hanging')])).toBe('hanging')
    } finally {
      execFileSync('fsfreeze', ['--unfreeze', mountPoint])
      await Promise.all(writes)
    }
  } finally {
    await hanging.close(5000)
    await healthy.close(5000)
    execFileSync('umount', [mountPoint])
    await loop.detach()
    rmSync(directory, { recursive: true })
  }
})

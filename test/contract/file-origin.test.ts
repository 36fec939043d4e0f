import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openFileOrigin } from '../../src/engine/origin/file-origin.js'
import { limitOrigin } from '../../src/engine/origin/limit.js'
import type { Origin } from '../../src/engine/origin/origin.js'
import { faultyOrigin } from '../support/faulty-origin.js'
import { FILLING, ORIGIN_CONTRACT_BYTES, testOrigin, type OriginFixture } from './origin.js'

async function fileFixture(decorate: (origin: Origin) => Origin): Promise<OriginFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-origin-'))
  const path = join(directory, 'disk.raw')
  await writeFile(path, Buffer.alloc(ORIGIN_CONTRACT_BYTES, FILLING))
  return {
    open: async (options) => decorate(await openFileOrigin(path, options)),
    remove: () => rm(directory, { recursive: true }),
  }
}

testOrigin('file', () => fileFixture((origin) => origin))
testOrigin('file behind a limit of one call', () => fileFixture((origin) => limitOrigin(origin, 1)))
testOrigin('file behind a limit of four calls', () => fileFixture((origin) => limitOrigin(origin, 4)))
testOrigin('file behind planted faults that are not used', () => fileFixture(faultyOrigin))

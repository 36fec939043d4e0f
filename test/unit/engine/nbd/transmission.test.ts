import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { must } from '../../../support/processes.js'

const source = join(import.meta.dirname, '..', '..', '..', '..', 'src')
let compiled: string

beforeAll(async () => {
  compiled = await mkdtemp(join(tmpdir(), 'vmcache-nbd-'))
  await writeFile(join(compiled, 'package.json'), '{"type":"module"}')
  const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ES2022 }
  for (const folder of ['base', 'protocol/nbd', 'engine/nbd']) {
    for (const file of await readdir(join(source, folder), { recursive: true })) {
      if (!file.endsWith('.ts')) continue
      const text = await readFile(join(source, folder, file), 'utf8')
      const target = join(compiled, folder, file.replace(/ts$/, 'js'))
      await mkdir(dirname(target), { recursive: true })
      await writeFile(target, ts.transpileModule(text, { compilerOptions }).outputText)
    }
  }
})
afterAll(() => rm(compiled, { recursive: true }))

test('a read that hits allocates nothing', async () => {
  const output = await must(process.execPath, [join(import.meta.dirname, 'hit-path-allocation.mjs'), compiled])
  const { near, far } = JSON.parse(output) as { near: number; far: number }
  expect(near).toBeLessThan(1)
  // An offset beyond 2 GiB is no small integer: it is boxed, in 16 bytes, where it is passed to the disk.
  expect(far).toBeLessThanOrEqual(17)
})

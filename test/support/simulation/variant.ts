import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import ts from 'typescript'
import { loadEngine, type EngineModules } from './engine-modules.ts'
import type { WorldHabits } from './habits.ts'

/** A fault that is put into a copy of the source. In each edit `find` stands once in `file` (below src) and is replaced. */
export interface PlantedFault {
  readonly name: string
  /** A seed that noticed it, tried first; others follow where the code has changed since. */
  readonly seed: number
  /** Of the worlds that notice it. */
  readonly habits?: WorldHabits
  readonly edits: readonly { readonly file: string; readonly find: string; readonly replace: string }[]
}

/** Folders of src that the simulated data plane is made of. */
const FOLDERS = ['base', 'model', 'format', 'protocol/control', 'engine']

/** The data plane with a fault in it, compiled into a directory of its own. `remove` takes that away again. */
export async function plant(
  source: string,
  fault: PlantedFault,
): Promise<{ modules: EngineModules; remove: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'vmcache-variant-'))
  let planted = 0
  for (const folder of FOLDERS) {
    for (const name of await readdir(join(source, folder), { recursive: true })) {
      if (!name.endsWith('.ts')) continue
      const path = join(folder, name)
      let text = await readFile(join(source, path), 'utf8')
      for (const { file, find, replace } of fault.edits) {
        if (file !== path) continue
        const times = text.split(find).length - 1
        if (times !== 1)
          throw new Error(`fault "${fault.name}": its text stands ${times} times in ${file}, expected once`)
        text = text.replace(find, () => replace)
        planted++
      }
      const target = join(directory, path.replace(/\.ts$/, '.js'))
      await mkdir(dirname(target), { recursive: true })
      await writeFile(target, compiled(text))
    }
  }
  if (planted !== fault.edits.length) throw new Error(`fault "${fault.name}": a file of it does not exist`)
  await writeFile(join(directory, 'package.json'), '{"type":"module"}')
  await symlink(join(source, '../node_modules'), join(directory, 'node_modules'))
  return {
    modules: await loadEngine(pathToFileURL(directory).href, 'js'),
    remove: () => rm(directory, { recursive: true }),
  }
}

/** What was compiled before: all but one file of a variant is as in the others. */
const compiledTexts = new Map<string, string>()

function compiled(text: string): string {
  let known = compiledTexts.get(text)
  if (known === undefined) {
    const compilerOptions = {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
    }
    compiledTexts.set(text, (known = ts.transpileModule(text, { compilerOptions }).outputText))
  }
  return known
}

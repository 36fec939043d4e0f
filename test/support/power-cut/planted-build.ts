import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import type { PlantedFault } from '../simulation/variant.js'

const ROOT = join(import.meta.dirname, '..', '..', '..')

/** A copy of the built engine, module by module, with a fault in it; returns the entry of its supervisor. */
export function plantInBuild(directory: string, { name, edits }: Pick<PlantedFault, 'name' | 'edits'>): string {
  const bundle = join(ROOT, 'dist', 'bundle')
  cpSync(join(ROOT, 'dist'), join(directory, 'dist'), { recursive: true, filter: (path) => path !== bundle })
  cpSync(join(ROOT, 'package.json'), join(directory, 'package.json'))
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  const sources = new Map<string, string>()
  for (const { file, find, replace } of edits) {
    const text = sources.get(file) ?? readFileSync(join(ROOT, 'src', file), 'utf8')
    const times = text.split(find).length - 1
    if (times !== 1) throw new Error(`fault "${name}": its text stands ${times} times in ${file}, expected once`)
    sources.set(
      file,
      text.replace(find, () => replace),
    )
  }
  for (const [file, text] of sources) {
    const { outputText } = ts.transpileModule(text, {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
    })
    writeFileSync(join(directory, 'dist', file.replace(/\.ts$/, '.js')), outputText)
  }
  return join(directory, 'dist', 'daemon', 'main.js')
}

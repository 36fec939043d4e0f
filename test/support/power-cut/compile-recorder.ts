import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import type * as recorder from './recorder.js'

/** The recorder is loaded for what it does; it has nothing to give. */
export type Recorder = typeof recorder

const MODULES = ['recorder', 'record-format']

/** Writes the recorder as JavaScript into a directory of its own; returns the path that `node --import` takes. */
export function compileRecorder(directory: string): string {
  mkdirSync(directory)
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}')
  for (const name of MODULES) {
    const { outputText } = ts.transpileModule(readFileSync(join(import.meta.dirname, `${name}.ts`), 'utf8'), {
      compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
    })
    writeFileSync(join(directory, `${name}.js`), outputText)
  }
  return join(directory, `${MODULES[0]}.js`)
}

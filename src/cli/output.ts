import type { VmcacheError } from '../base/errors.js'
import { loadPaint, wantsColour } from './paint.js'

/** Writes a result as one JSON document. */
export function writeJson(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`)
}

/** Writes a result as one line of JSON, for commands that go on. */
export function writeJsonLine(document: unknown): void {
  process.stdout.write(`${JSON.stringify(document)}\n`)
}

/** Writes a result for people; nothing where it is empty. */
export function writeText(text: string): void {
  if (text !== '') process.stdout.write(`${text}\n`)
}

/** Says something that is not a result. */
export function talk(text: string): void {
  process.stderr.write(`${text}\n`)
}

/** How the error of a command is shown: a document on standard output with --json, else words on standard error. */
export async function renderError(error: VmcacheError, options: { json: boolean; noColour: boolean }): Promise<void> {
  if (options.json) writeJson({ error: error.toDocument() })
  else talk(await errorText(error, options))
  if (error.code === 'INTERNAL' && process.env['VMCACHE_DEBUG']) {
    talk(error.cause instanceof Error ? (error.cause.stack ?? '') : String(error.cause))
  }
}

/** `error: what is wrong` and `hint: what to do`. */
export async function errorText(error: VmcacheError, options: { noColour: boolean }): Promise<string> {
  const paint = await loadPaint(wantsColour(process.stderr, options.noColour, process.env))
  const hint = error.hint === null ? '' : `\n${paint.faint('hint:')} ${error.hint}`
  return `${paint.bad('error:')} ${error.message}${hint}`
}

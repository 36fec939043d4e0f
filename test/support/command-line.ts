import { join } from 'node:path'
import { must, run } from './processes.js'

/** Runs vmcache as a user would; each command is shown before it runs. */
export interface CommandLine {
  /** Where it keeps everything: what a user exports to type further commands. */
  readonly environment: Readonly<Record<string, string>>
  /** Runs a command with `--json` and returns its document; throws with its error. */
  vmcache<Document = unknown>(...args: string[]): Promise<Document>
  /** The same for a question that need not be shown. */
  ask<Document = unknown>(...args: string[]): Promise<Document>
  /** Runs a command as people do, and returns what it says. */
  read(...args: string[]): Promise<string>
}

export function commandLine(
  root: string,
  directory: string,
  show: (line: string) => void,
  variables: Readonly<Record<string, string>> = {},
): CommandLine {
  const environment = {
    ...variables,
    VMCACHE_USER: '1',
    VMCACHE_STATE_DIR: join(directory, 'state'),
    VMCACHE_RUN_DIR: join(directory, 'run'),
  }
  const program = join(root, 'bin', 'vmcache')
  const ask = async <Document>(...args: string[]): Promise<Document> => {
    const outcome = await run(program, withJson(args), { env: environment })
    const document = parse(outcome.stdout)
    if (outcome.code === 0 && document !== null) return document as Document
    const error = (document as { error?: { message: string; hint: string | null } } | null)?.error
    const words = error === undefined ? outcome.stdout + outcome.stderr : [error.message, error.hint].join('\n')
    throw new Error(`vmcache ${args.join(' ')} ended with ${outcome.code}: ${words.trim()}`)
  }
  return {
    environment,
    ask,
    async vmcache(...args) {
      show(`vmcache ${args.map(quoted).join(' ')}`)
      return ask(...args)
    },
    async read(...args) {
      show(`vmcache ${args.map(quoted).join(' ')}`)
      return must(program, args, { env: environment })
    },
  }
}

/** The arguments with `--json`; what follows `--` is another program's. */
export function withJson(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  return [...args.slice(0, end), '--json', ...args.slice(end)]
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** As a shell wants it. */
export function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`
}

/** What the global flags and their environment variables say. Null: not given. */
export interface GlobalOptions {
  readonly json: boolean
  readonly quiet: boolean
  readonly noColour: boolean
  readonly timeoutSeconds: number | null
  readonly host: string | null
  readonly user: boolean
  readonly stateDirectory: string | null
  readonly runDirectory: string | null
  readonly configurationFile: string | null
  readonly yes: boolean
  readonly dryRun: boolean
  readonly wait: boolean
}

export function globalOptions(flags: Readonly<Record<string, unknown>>): GlobalOptions {
  const text = (name: string): string | null => (typeof flags[name] === 'string' ? flags[name] : null)
  return {
    json: flags['json'] === true,
    quiet: flags['quiet'] === true,
    noColour: flags['no-color'] === true,
    timeoutSeconds: typeof flags['timeout'] === 'number' ? flags['timeout'] : null,
    host: text('host'),
    user: flags['user'] === true,
    stateDirectory: text('state-dir'),
    runDirectory: text('run-dir'),
    configurationFile: text('config'),
    yes: flags['yes'] === true,
    dryRun: flags['dry-run'] === true,
    wait: flags['no-wait'] !== true,
  }
}

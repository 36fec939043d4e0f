import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { pathOf } from './packages.js'
import { until } from './processes.js'

export interface PostgresqlServer {
  /** URL of a new, empty database. */
  createDatabase(): Promise<string>
  /** The server goes away as if its host had failed; `start` brings it back with its data. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Ends it and removes its files. */
  stop(): Promise<void>
}

const USER = 'vmcache'

/** A PostgreSQL server in a temporary directory that listens on a unix socket there only; run by an unprivileged user. */
export async function startPostgresql(): Promise<PostgresqlServer> {
  const programs = dirname(pathOf('postgres'))
  const directory = mkdtempSync(join(tmpdir(), 'vmcache-postgresql-'))
  const owner = unprivileged()
  if (owner !== null) chownSync(directory, owner.uid, owner.gid)
  const data = join(directory, 'data')
  const as = owner ?? {}
  let server: ReturnType<typeof spawn> | null = null
  let databases = 0

  async function exec(program: string, args: string[]): Promise<void> {
    const child = spawn(join(programs, program), args, { ...as, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] })
    let talk = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (talk += text))
    const [code] = (await once(child, 'close')) as [number | null]
    if (code !== 0) throw new Error(`${program} ended with ${code}: ${talk}`)
  }

  const url = (database: string) => `postgres://${USER}@localhost/${database}?host=${encodeURIComponent(directory)}`

  async function query(text: string): Promise<void> {
    const client = new pg.Client({ connectionString: url('postgres') })
    client.on('error', () => {})
    await client.connect()
    try {
      await client.query(text)
    } finally {
      await client.end()
    }
  }

  async function start(): Promise<void> {
    const child = spawn(join(programs, 'postgres'), ['-D', data, '-k', directory, '-c', 'listen_addresses=', '-F'], {
      ...as,
      cwd: directory,
      stdio: 'ignore',
    })
    server = child
    await until('PostgreSQL', async () => {
      if (child.exitCode !== null) throw new Error(`postgres ended with ${child.exitCode}`)
      return query('select 1').then(
        () => true,
        () => false,
      )
    })
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const child = server
    server = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  await exec('initdb', ['-D', data, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'])
  await start()
  return {
    async createDatabase() {
      const name = `test${databases++}`
      await query(`create database ${name}`)
      return url(name)
    },
    // An immediate shutdown: every connection breaks, nothing is tidied up.
    kill: () => end('SIGQUIT'),
    start,
    async stop() {
      await end('SIGINT')
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

/** Who runs the server: PostgreSQL refuses root. Null where we are nobody special. */
function unprivileged(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null
  const accounts = readFileSync('/etc/passwd', 'utf8').split('\n')
  const account = ['postgres', 'nobody'].map((name) => accounts.find((line) => line.startsWith(`${name}:`)))
  const [, , uid, gid] = account.find((line) => line !== undefined)!.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

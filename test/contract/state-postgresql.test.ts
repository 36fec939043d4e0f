import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openState } from '../../src/state/open-state.js'
import { describeWith } from '../support/packages.js'
import { startPostgresql, type PostgresqlServer } from '../support/postgresql.js'
import { stateContract } from './state.js'

describeWith(['postgres'], 'the state database on PostgreSQL', () => {
  let server: PostgresqlServer
  beforeAll(async () => {
    server = await startPostgresql()
  })
  afterAll(() => server?.stop())

  stateContract(() => server.createDatabase())

  async function execute(url: string, text: string): Promise<void> {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(text)
    await client.end()
  }

  test('lives beside the tables of others, but not with tables of its own names', async () => {
    const shared = await server.createDatabase()
    await execute(shared, 'create table recipe (name text)')
    await (await openState(shared)).close()

    const taken = await server.createDatabase()
    await execute(taken, 'create table disk (name text)')
    await expect(openState(taken)).rejects.toMatchObject({ code: 'REFUSED', message: expect.stringContaining('disk') })
  })

  test('engines that start at once on a new database all open it', async () => {
    const url = await server.createDatabase()
    const states = await Promise.all([1, 2, 3].map(() => openState(url)))
    await Promise.all(states.map((state) => state.close()))
  })

  test('a newer schema is refused', async () => {
    const url = await server.createDatabase()
    await (await openState(url)).close()
    await execute(url, "insert into vmcache_migration values ('0099-later', '2030-01-01')")
    await expect(openState(url)).rejects.toMatchObject({ code: 'WRONG_STATE' })
  })

  test('a database that does not exist, and a user that may not write, are named without the password', async () => {
    const url = new URL(await server.createDatabase())
    const missing = new URL(url)
    missing.pathname = '/none'
    missing.password = 'secret'
    const error = await openState(missing.href).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'FAILED', message: expect.stringContaining('/none') })
    expect(JSON.stringify(error) + String(error)).not.toContain('secret')

    await execute(url.href, 'create role reader login; alter role reader set default_transaction_read_only = on')
    url.username = 'reader'
    await expect(openState(url.href)).rejects.toMatchObject({ code: 'DENIED' })
  })

  test('a server that goes away fails the call, and serves again when it is back', async () => {
    const state = await openState(await server.createDatabase())
    const host = { id: 'h1', name: 'kvm07', seenAt: '2026-11-20T10:00:00.000Z' }
    await state.hosts.save(host)
    await server.kill()
    await expect(state.hosts.list()).rejects.toMatchObject({ code: 'FAILED' })
    await expect(state.hosts.list()).rejects.toMatchObject({
      code: 'FAILED',
      message: expect.stringContaining('reach'),
    })
    await server.start()
    expect(await state.hosts.list()).toEqual([host])
    await state.close()
  })
})

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { afterAll, describe, expect, test } from 'vitest'
import { openState } from '../../src/state/open-state.js'
import { stateContract } from './state.js'

const directory = mkdtempSync(join(tmpdir(), 'vmcache-state-'))
let files = 0
const newPath = () => join(directory, `state${files++}.db`)

afterAll(() => rmSync(directory, { recursive: true, force: true }))

describe('the state database on SQLite', () => {
  stateContract(async () => `sqlite:${newPath()}`)

  test('survives a power cut: every commit is synced, and the file is for its owner alone', async () => {
    const path = newPath()
    const state = await openState(`sqlite:${path}`)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readFileSync(path).readUInt8(18)).toBe(2) // The header says WAL.
    await state.close()
  })

  test('a file that is no database is named and left as it is', async () => {
    const path = newPath()
    writeFileSync(path, 'not a database at all\n'.repeat(1000))
    const before = readFileSync(path)
    await expect(openState(`sqlite:${path}`)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining(path),
      hint: expect.stringContaining('cache import'),
    })
    expect(readFileSync(path)).toEqual(before)
  })

  test("another program's database is refused and left as it is", async () => {
    const path = newPath()
    const database = new Database(path)
    database.exec('create table recipe (name text)')
    database.close()
    const before = readFileSync(path)
    await expect(openState(`sqlite:${path}`)).rejects.toMatchObject({
      code: 'REFUSED',
      message: expect.stringContaining('recipe'),
    })
    expect(readFileSync(path)).toEqual(before)
  })

  test('a newer schema is refused', async () => {
    const path = newPath()
    await (await openState(`sqlite:${path}`)).close()
    const database = new Database(path)
    database.exec("insert into vmcache_migration values ('0099-later', '2030-01-01')")
    database.close()
    await expect(openState(`sqlite:${path}`)).rejects.toMatchObject({
      code: 'WRONG_STATE',
      message: expect.stringContaining('0099-later'),
    })
  })

  test('a damaged database is named', async () => {
    const path = newPath()
    await (await openState(`sqlite:${path}`)).close()
    const bytes = readFileSync(path)
    bytes.fill(0xa5, bytes.length / 2)
    writeFileSync(path, bytes)
    rmSync(`${path}-wal`, { force: true })
    await expect(openState(`sqlite:${path}`)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining(path),
    })
  })

  test('a database that another process has locked is named', async () => {
    const path = newPath()
    await (await openState(`sqlite:${path}`)).close()
    const database = new Database(path)
    database.exec('begin immediate')
    await expect(openState(`sqlite:${path}`)).rejects.toMatchObject({
      code: 'FAILED',
      message: expect.stringContaining('locked'),
    })
    database.close()
  })

  test.each([
    ['a directory that does not exist', () => join(directory, 'none', 'state.db'), 'FAILED'],
    ['a directory in place of the file', () => directory, 'DENIED'],
    ['a file system that takes no files', () => '/proc/state.db', 'DENIED'],
  ])('%s is named', async (_, path, code) => {
    await expect(openState(`sqlite:${path()}`)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(path()),
    })
  })

  test.each(['', 'state.db', 'sqlite:state.db', 'sqlite:', 'mysql://h/d', 'postgres://', 'postgres://[/d'])(
    'URL %j is refused',
    async (url) => {
      await expect(openState(url)).rejects.toMatchObject({ code: 'BAD_CONFIG' })
    },
  )
})

import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connectedClients } from '../../../src/daemon/connected-clients.js'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vmcache-clients-'))
})
afterAll(() => rm(directory, { recursive: true }))

test('counts connections as the kernel has them', async () => {
  const path = join(directory, 'a disk.sock')
  const server = createServer().listen(path)
  await once(server, 'listening')
  expect(await connectedClients([path])).toEqual(new Map([[path, 0]]))
  const clients = [connect(path), connect(path)]
  await Promise.all(clients.map((client) => once(client, 'connect')))
  expect(await connectedClients([path, '/nonexistent'])).toEqual(
    new Map([
      [path, 2],
      ['/nonexistent', 0],
    ]),
  )
  for (const client of clients) client.destroy()
  server.close()
  await expect.poll(async () => (await connectedClients([path])).get(path)).toBe(0)
})

test('other lines of the table are not taken for connections', async () => {
  const table = join(directory, 'unix')
  await writeFile(
    table,
    [
      'Num       RefCount Protocol Flags    Type St Inode Path',
      '0000000000000000: 00000002 00000000 00010000 0001 01 1 /r/a.sock',
      '0000000000000000: 00000003 00000000 00000000 0001 03 2 /r/a.sock',
      '0000000000000000: 00000003 00000000 00000000 0001 03 3',
      '0000000000000000: 00000003 00000000 00000000 0001 03 4 /r/a.sock2',
      '',
    ].join('\n'),
  )
  expect((await connectedClients(['/r/a.sock'], table)).get('/r/a.sock')).toBe(1)
})

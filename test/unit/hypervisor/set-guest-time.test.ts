/** The clock of a guest is set through its agent: found in the arguments of a QEMU, asked over a socket, or by virsh. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/clock.js'
import { systemRandom } from '../../../src/base/random.js'
import { createLibvirtDriver } from '../../../src/hypervisor/libvirt/libvirt-driver.js'
import { agentSocket } from '../../../src/hypervisor/qemu/agent-socket.js'
import { setGuestTime } from '../../../src/hypervisor/qemu/set-guest-time.js'

const PORT = 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'
const NOW = 1_795_168_800_123.4

let directory: string
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'vmcache-agent-'))))
afterEach(() => rmSync(directory, { recursive: true, force: true }))

test.each<[string, string[], string | null]>([
  ['none', [], null],
  [
    'another port',
    ['-chardev', 'socket,id=agent,path=/a,server=on', '-device', 'virtserialport,chardev=agent,name=x'],
    null,
  ],
  ['one', ['-device', PORT, '-chardev', 'socket,id=agent,path=/run/a,server=on,wait=off'], '/run/a'],
  ['as QEMU was told before', ['--chardev', 'socket,path=/run/a,server,nowait,id=agent', '--device', PORT], '/run/a'],
  ['with a comma in its path', ['-chardev', 'socket,id=agent,path=/run/a,,b,server=on', '-device', PORT], '/run/a,b'],
  [
    'as JSON',
    [
      ...['-chardev', 'socket,id=agent,path=/run/a,server=on', '-device'],
      '{"driver":"virtserialport","chardev":"agent","name":"org.qemu.guest_agent.0","nr":2}',
    ],
    '/run/a',
  ],
  ['that connects itself', ['-chardev', 'socket,id=agent,path=/run/a', '-device', PORT], null],
  ['that is no socket', ['-chardev', 'pty,id=agent', '-device', PORT], null],
  ['that is no JSON', ['-device', '{"driver":'], null],
  ['without a value', ['-device'], null],
])('the socket of an agent in the arguments of QEMU: %s', (_, words, expected) => {
  expect(agentSocket(words)).toBe(expected)
})

describe('an agent at a socket', () => {
  const path = (): string => join(directory, 'agent')

  /** Answers each line by what `answer` makes of it; notes what it was asked. */
  async function listening(
    answer: (line: string, socket: Socket) => string | null,
  ): Promise<{ asked: string[]; close(): void }> {
    const asked: string[] = []
    const server = createServer((socket) => {
      socket.setEncoding('latin1').on('error', () => {})
      socket.on('data', (text: string) => {
        for (const line of text.split('\n').filter((each) => each !== '')) {
          asked.push(line)
          const words = answer(line, socket)
          if (words !== null) socket.write(Buffer.from(words, 'latin1'))
        }
      })
    })
    await new Promise<void>((resolve) => server.listen(path(), resolve))
    return { asked, close: () => void server.close() }
  }

  const set = (signal = new AbortController().signal) => setGuestTime(path(), { now: () => NOW, id: 4711, signal })
  const synced = (line: string): string | null =>
    line.includes('guest-sync-delimited') ? '\xff{"return": 4711}\n' : null

  test('is asked for the time in nanoseconds, once it has answered to us', async () => {
    const agent = await listening((line) => synced(line) ?? '{"return": {}}\n')
    await set()
    expect(agent.asked).toEqual([
      '\xff{"execute":"guest-sync-delimited","arguments":{"id":4711}}',
      '{"execute":"guest-set-time","arguments":{"time":1795168800123000000}}',
    ])
    agent.close()
  })

  test('may say what was left of a conversation with somebody else first', async () => {
    const agent = await listening((line) =>
      synced(line) === null ? '{"return": {}}\n' : '{"retu{"return": 12}\n{"return": {}}\n' + synced(line),
    )
    await set()
    expect(agent.asked).toHaveLength(2)
    agent.close()
  })

  test.each<[string, (line: string, socket: Socket) => string | null, RegExp]>([
    [
      'refuses',
      (line) => synced(line) ?? '{"error": {"class": "GenericError", "desc": "hwclock failed"}}\n',
      /hwclock failed/,
    ],
    ['hangs up', (_, socket) => (socket.end(), null), /connection was closed/],
  ])('that %s is an error with its words', async (_, answer, words) => {
    const agent = await listening(answer)
    await expect(set()).rejects.toMatchObject({ code: 'HYPERVISOR', message: expect.stringMatching(words) })
    agent.close()
  })

  test('that says nothing is waited for until the signal; one that is not there not at all', async () => {
    await expect(set()).rejects.toMatchObject({ code: 'HYPERVISOR', message: expect.stringContaining('ENOENT') })
    const agent = await listening(() => null)
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 50)
    await expect(set(abort.signal)).rejects.toMatchObject({ message: expect.stringContaining('in time') })
    agent.close()
  })
})

describe('a domain of libvirt, by a virsh that is none', () => {
  const vm = { uuid: '11111111-2222-3333-4444-555555555555', name: 'web01', definition: null, connect: 'test:///' }
  const PORTS = `<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>`
  const before = process.env['PATH']
  afterEach(() => void (process.env['PATH'] = before))

  /** `domtime`: what sh does for it. What it is told when it has been started it takes for sh: `dumpxml` and `echo`. */
  function fakeVirsh(ports: string, domtime: string): void {
    const xml = join(directory, 'domain.xml')
    writeFileSync(xml, `<domain><name>web01</name><devices>${ports}</devices></domain>`)
    const script = `#!/bin/sh
echo "$@" >> ${directory}/calls
case "$*" in *domtime*) ${domtime} ;; esac
echo() { if [ "$1" = --err ]; then printf '%s\\n' "$2" >&2; else printf '%s\\n' "$1"; fi; }
dumpxml() { cat ${xml}; }
while IFS= read -r line; do eval "$line"; done
`
    writeFileSync(join(directory, 'virsh'), script)
    chmodSync(join(directory, 'virsh'), 0o755)
    process.env['PATH'] = `${directory}:${before}`
  }

  const set = async (milliseconds = 5000): Promise<boolean> => {
    const options = { runDirectory: directory, qemuGroup: null, clock: systemClock, random: systemRandom }
    const driver = createLibvirtDriver({ ...options, onChange: () => {} })
    const abort = new AbortController()
    const timer = setTimeout(() => abort.abort(), milliseconds)
    try {
      return await driver.setGuestClock(vm, abort.signal)
    } finally {
      clearTimeout(timer)
      await driver.close()
    }
  }
  const domtimes = (): number =>
    readFileSync(join(directory, 'calls'), 'utf8')
      .split('\n')
      .filter((line) => line.includes(`domtime ${vm.uuid} --now`)).length

  test('is left alone where it has no port for an agent', async () => {
    fakeVirsh('', 'exit 1')
    expect(await set()).toBe(false)
    expect(domtimes()).toBe(0)
  })

  test('is set to the time of the host', async () => {
    fakeVirsh(PORTS, 'exit 0')
    expect(await set()).toBe(true)
    expect(domtimes()).toBe(1)
  })

  test('is asked again while libvirt has not heard of its agent yet; other refusals are final', async () => {
    fakeVirsh(
      PORTS,
      `[ $(grep -c domtime ${directory}/calls) -lt 3 ] && { echo "error: Guest agent is not responding: QEMU guest agent is not connected" >&2; exit 1; }; exit 0`,
    )
    expect(await set()).toBe(true)
    expect(domtimes()).toBe(3)
    fakeVirsh(PORTS, `echo "error: internal error: unable to execute QEMU agent command 'guest-set-time'" >&2; exit 1`)
    await expect(set()).rejects.toMatchObject({
      code: 'HYPERVISOR',
      message: expect.stringContaining('guest-set-time'),
    })
    expect(domtimes()).toBe(4)
  })

  test('whose agent does not answer is given up when the signal is raised', async () => {
    fakeVirsh(PORTS, 'exec sleep 60')
    const began = performance.now()
    await expect(set(1500)).rejects.toMatchObject({ code: 'HYPERVISOR', message: expect.stringContaining('in time') })
    expect(performance.now() - began).toBeLessThan(4000)
  })
})

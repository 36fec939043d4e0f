import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { formatImageLockList, imageLockListPath } from '../../../src/daemon/image-lock-list.js'
import { formatSuspendedList, suspendedListPath } from '../../../src/daemon/suspended-list.js'
import { libvirtHook } from '../../../src/daemon/libvirt-hook.js'
import { formatStamp, stampPath } from '../../../src/operations/stamp.js'
import { findProgram } from '../../support/programs.js'

/** What /bin/sh is on some distribution: dash (Debian), busybox (Alpine), bash (Fedora). */
const SHELLS = [['dash'], ['busybox', 'sh'], ['bash', '--posix']] as const
const PATIENCE_MILLISECONDS = 1000

let directory: string
let hook: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'vmcache-hook-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  hook = join(directory, 'hook')
  mkdirSync(join(directory, 'pools'))
  const text = libvirtHook({
    imageLocks: imageLockListPath(directory),
    suspended: suspendedListPath(directory),
    poolDirectories: [join(directory, 'pools')],
  })
  writeFileSync(hook, text, { mode: 0o755 })
})

interface Answer {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** `arguments_`: domain, operation, step, extra, as libvirt gives them. */
function ask(xml: string, arguments_ = ['web', 'prepare', 'begin', '-'], shell: readonly string[] = ['dash']): Answer {
  const [program, ...options] = shell
  const outcome = spawnSync(program!, [...options, hook, ...arguments_], {
    input: xml,
    encoding: 'utf8',
    timeout: 20_000,
    env: { PATH: process.env['PATH'], ...(shell.length > 1 ? { VMCACHE_HOOK: 'limited' } : {}) },
  })
  return { code: outcome.status, stdout: outcome.stdout, stderr: outcome.stderr }
}

/** An image with a stamp beside it. */
function image(name: string, lacksWrites: boolean, host = 'kvm07', disk = 'web01/vda'): string {
  const path = join(directory, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, '')
  const stamp = {
    id: 'a1',
    hostId: 'b2',
    hostName: host,
    disk,
    epoch: 3,
    since: '2026-01-01T00:00:00.000Z',
    lacksWrites,
  }
  writeFileSync(stampPath(path), formatStamp(stamp))
  return path
}

/** As libvirt writes an attribute. */
const escaped = (text: string) =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll("'", '&apos;')
    .replaceAll('"', '&quot;')

const source = (path: string, attribute = 'file') => `<source ${attribute}='${escaped(path)}' index='1'/>`
const disk = (inner: string) => `<disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      ${inner}
      <target dev='vda' bus='virtio'/>
    </disk>`
const domain = (
  ...devices: string[]
) => `<domain type='kvm' id='3' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>5d2ed0d2-7d5c-4d0b-9f0f-1d2b3c4d5e6f</uuid>
  <os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader></os>
  <devices>
    ${devices.join('\n    ')}
  </devices>
</domain>`

const REFUSED = (path: string) => ({ code: 1, stdout: '', stderr: expect.stringContaining(path) })
const ALLOWED: Answer = { code: 0, stdout: '', stderr: '' }

describe.each(SHELLS.filter(([name]) => findProgram(name) !== null).map((shell) => ({ shell })))(
  'with $shell',
  ({ shell }) => {
    test('a domain whose image lacks writes is refused, with the host that has them and what to do', () => {
      const path = image('web.img', true)
      const { code, stdout, stderr } = ask(domain(disk(source(path))), undefined, shell)
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toBe(
        [
          `vmcache: domain web must not be started here: image ${path} may lack writes, which the cache of host kvm07 holds for disk web01/vda. On that host`,
          '    vmcache cache detach web01/vda',
          'completes the image and ends the caching; where no engine can run there:',
          '    vmcache cache recover --device PATH...',
          'If that host and its cache are gone for good, this gives up what the image lacks:',
          `    vmcache lease take '${path}' --fenced --discard-dirty`,
          '',
        ].join('\n'),
      )
    })

    test('a complete image, one without a stamp and one that is not there are nobody’s business', () => {
      const plain = join(directory, 'plain.img')
      writeFileSync(plain, '')
      const xml = domain(
        ...[image('web.img', false), plain, join(directory, 'none.img')].map((path) => disk(source(path))),
      )
      expect(ask(xml, undefined, shell)).toEqual(ALLOWED)
    })

    test('a suspended domain is refused, with both ways on; others are not', () => {
      const list = formatSuspendedList([
        { uuid: 'aaaaaaaa-7d5c-4d0b-9f0f-1d2b3c4d5e6f', name: 'other' },
        { uuid: '5d2ed0d2-7d5c-4d0b-9f0f-1d2b3c4d5e6f', name: 'desk 07' },
      ])
      writeFileSync(suspendedListPath(directory), list)
      const { code, stdout, stderr } = ask(domain(), undefined, shell)
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toBe(
        [
          'vmcache: domain web must not be started here: it is suspended, and would run without its memory. Let it go on',
          "    vmcache vm resume 'desk 07'",
          'or lose its memory, and start it then:',
          "    vmcache checkpoint delete 'desk 07' --discard-memory",
          '',
        ].join('\n'),
      )
      expect(ask(domain(), ['web', 'stopped', 'end', '-'], shell)).toEqual(ALLOWED)
      writeFileSync(suspendedListPath(directory), formatSuspendedList([]))
      expect(ask(domain(), undefined, shell)).toEqual(ALLOWED)
      expect(ask(domain().replace(/<uuid>.*<\/uuid>/, ''), undefined, shell)).toEqual(ALLOWED)
    })

    test('of several disks each one counts', () => {
      const bad = image('z.img', true)
      const good = Array.from({ length: 30 }, (_, index) => disk(source(image(`good${index}.img`, false))))
      expect(ask(domain(...good, disk(source(bad))), undefined, shell)).toMatchObject(REFUSED(bad))
      expect(ask(domain(disk(source(bad)), ...good), undefined, shell)).toMatchObject(REFUSED(bad))
      expect(ask(domain(...good), undefined, shell)).toEqual(ALLOWED)
    })

    test.each([
      'a b.img',
      ' leading and trailing ',
      "it's.img",
      'say "no".img',
      'a&b.img',
      'a<b>.img',
      '$(touch x) `id` ; rm -rf *.img',
      'back\\slash\\n.img',
      '-n.img',
      'tab\there.img',
      'größe/日本.img',
      '%s%d.img',
      '&amp;lt;.img',
    ])('paths are taken as they are: %j', (name) => {
      const path = image(name, true)
      const { code, stderr } = ask(domain(disk(source(path))), undefined, shell)
      expect(code).toBe(1)
      expect(stderr).toContain(`image ${path.replaceAll('\t', '')} may lack`)
      writeFileSync(stampPath(path), 'lacks-writes: no\n')
      expect(ask(domain(disk(source(path))), undefined, shell)).toEqual(ALLOWED)
    })

    test.each([
      ['double quotes', (path: string) => `<source file="${escaped(path)}"/>`],
      ['other attributes before it', (path: string) => `<source startupPolicy='mandatory' index='2' file='${path}'>`],
      ['line breaks and blanks', (path: string) => `<source\n\t file = '${path}'\n/>`],
      ['a sign of more in it', (path: string) => `<source label='a > b' file='${path}'/>`],
      ['numeric references', (path: string) => `<source file='${path.replace('web', '&#119;&#x65;&#x62;')}'/>`],
      ['a mirror', (path: string) => `<source file='/none'/><mirror type='file'><source file='${path}'/></mirror>`],
      [
        'a backing chain',
        (path: string) =>
          `<source file='/none'/><backingStore type='file'><format type='raw'/><source file='${path}'/></backingStore>`,
      ],
      ['a device', (path: string) => `<source dev='${path}'/>`],
    ])('XML with %s', (_, make) => {
      const path = image('web.img', true)
      expect(ask(domain(disk(make(path))), undefined, shell)).toMatchObject(REFUSED(path))
      expect(ask(domain(disk(make(image('web.img', false)))), undefined, shell)).toEqual(ALLOWED)
    })

    test('only what a disk has counts', () => {
      const path = image('web.img', true)
      const elsewhere = [
        `<!-- ${disk(source(path))} -->`,
        `<interface type='direct'><source dev='${path}' mode='bridge'/></interface>`,
        `<filesystem type='mount'><source file='${path}'/></filesystem>`,
        `<description><![CDATA[<disk><source file='${path}'/></disk>]]></description>`,
        `<disk type='network'><source protocol='nbd' name='${path}'><host name='localhost'/></source></disk>`,
        `<diskless><source file='${path}'/></diskless>`,
      ]
      expect(ask(domain(...elsewhere), undefined, shell)).toEqual(ALLOWED)
    })

    test('a link to an image is the image', () => {
      const path = image('real/web.img', true)
      symlinkSync(path, join(directory, 'link.img'))
      symlinkSync(join(directory, 'real'), join(directory, 'way'))
      for (const other of ['link.img', 'way/web.img']) {
        expect(ask(domain(disk(source(join(directory, other)))), undefined, shell)).toMatchObject(
          REFUSED(join(directory, other)),
        )
      }
    })

    test('a volume of a storage pool is found by the pool’s definition', () => {
      const path = image('pool dir/vol 1.img', true)
      const target = escaped(join(directory, 'pool dir'))
      writeFileSync(
        join(directory, 'pools', 'default.xml'),
        `<!--\nWARNING\n-->\n<pool type='dir'>\n  <name>default</name>\n  <target>\n    <path>${target}</path>\n  </target>\n</pool>\n`,
      )
      const volume = (pool: string) => disk(`<source pool='${pool}' volume='vol 1.img'/>`)
      expect(ask(domain(volume('default')), undefined, shell)).toMatchObject(REFUSED(path))
      expect(ask(domain(volume('other'), volume('../pools/default')), undefined, shell)).toEqual(ALLOWED)
    })

    test('a device that this host lists is refused, by whatever name it is called', () => {
      const device = join(directory, 'dm-3')
      writeFileSync(device, '')
      symlinkSync(device, join(directory, 'by id'))
      writeFileSync(
        imageLockListPath(directory),
        formatImageLockList([
          { path: join(directory, 'gone'), disk: 'gone' },
          { path: join(directory, 'by id'), disk: 'db/vdb' },
        ]),
      )
      const { code, stderr } = ask(domain(disk(source(device, 'dev'))), undefined, shell)
      expect(code).toBe(1)
      expect(stderr).toContain(`image ${device} may lack writes, which the cache of this host holds for disk db/vdb`)
      writeFileSync(imageLockListPath(directory), formatImageLockList([]))
      expect(ask(domain(disk(source(device, 'dev'))), undefined, shell)).toEqual(ALLOWED)
    })

    test.each([
      ['is damaged', (path: string) => writeFileSync(path, '\0\0\0\0')],
      ['is empty', (path: string) => writeFileSync(path, '')],
      ['is a FIFO', (path: string) => void spawnSync('mkfifo', [path])],
      ['is a directory', (path: string) => mkdirSync(path)],
      ['is a link to nothing', (path: string) => symlinkSync('/none', path)],
      ['says perhaps', (path: string) => writeFileSync(path, 'lacks-writes: perhaps\n')],
    ])('a stamp that %s says nothing good', (_, make) => {
      const path = image('web.img', false)
      rmSync(stampPath(path))
      make(stampPath(path))
      const { code, stderr } = ask(domain(disk(source(path))), undefined, shell)
      expect(code).toBe(1)
      expect(stderr).toContain(`the stamp ${stampPath(path)} cannot be understood`)
    })
  },
)

test.each([
  ['prepare', 'begin', 1],
  ['start', 'begin', 1],
  ['restore', 'begin', 1],
  ['migrate', 'begin', 1],
  ['started', 'begin', 0],
  ['stopped', 'end', 0],
  ['release', 'end', 0],
  ['reconnect', 'begin', 0],
  ['attach', 'begin', 0],
])('%s %s ends with %i', (operation, step, code) => {
  const path = image('web.img', true)
  expect(ask(domain(disk(source(path))), ['web', operation, step, '-']).code).toBe(code)
})

test('nothing on standard input is nothing to object to', () => {
  expect(ask('')).toEqual(ALLOWED)
  expect(ask('not XML at all < >')).toEqual(ALLOWED)
})

test('what a stamp says cannot write to the terminal of who reads it', () => {
  const path = image('web.img', true)
  writeFileSync(stampPath(path), 'host: \u001b[31mred\u0007\ndisk: d\nlacks-writes: yes\n')
  expect(ask(domain(disk(source(path)))).stderr).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/)
})

test('answers within a second for a domain with a hundred disks', () => {
  const disks = Array.from({ length: 100 }, (_, index) => disk(source(image(`${index}.img`, false))))
  const startedAt = performance.now()
  expect(ask(domain(...disks))).toEqual(ALLOWED)
  expect(performance.now() - startedAt).toBeLessThan(PATIENCE_MILLISECONDS)
})

test('storage that hangs is refused after a few seconds', { timeout: 20_000 }, () => {
  const path = image('web.img', true)
  // In place of storage that hangs: an awk that never ends.
  const bin = join(directory, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'awk'), '#!/bin/sh\nexec sleep 60\n')
  chmodSync(join(bin, 'awk'), 0o755)
  const { status, stderr } = spawnSync('dash', [hook, 'web', 'prepare', 'begin', '-'], {
    input: domain(disk(source(path))),
    encoding: 'utf8',
    env: { PATH: `${bin}:${process.env['PATH']}` },
  })
  expect(status).toBe(1)
  expect(stderr).toContain('the storage of its images does not answer')
})

test('without awk nothing is started', () => {
  const bin = join(directory, 'bin')
  mkdirSync(bin)
  for (const name of ['cat', 'tr']) symlinkSync(findProgram(name)!, join(bin, name))
  const outcome = spawnSync(findProgram('dash') ?? '/bin/sh', [hook, 'web', 'prepare', 'begin', '-'], {
    input: domain(disk(source(image('web.img', true)))),
    encoding: 'utf8',
    env: { PATH: bin, VMCACHE_HOOK: 'limited' },
  })
  expect(outcome.status).toBe(1)
  expect(outcome.stderr).toContain('its XML cannot be read')
})

import { describe, expect, test } from 'vitest'
import { VmcacheError } from '../../../../src/base/errors.js'
import { looksLikeNbdUri, parseNbdUri } from '../../../../src/engine/origin/nbd-uri.js'

describe('what is understood', () => {
  test.each([
    ['nbd://host', { host: 'host', port: 10809 }, '', 'nbd://host/'],
    ['nbd://host/', { host: 'host', port: 10809 }, '', 'nbd://host/'],
    ['NBD://HOST:10809/disk', { host: 'host', port: 10809 }, 'disk', 'nbd://host/disk'],
    ['nbd://10.0.0.1:1/a/b', { host: '10.0.0.1', port: 1 }, 'a/b', 'nbd://10.0.0.1:1/a/b'],
    ['nbd://[::1]:65535/x', { host: '::1', port: 65535 }, 'x', 'nbd://[::1]:65535/x'],
    ['nbd://host//x', { host: 'host', port: 10809 }, '/x', 'nbd://host//x'],
    ['nbd://host/a%20b%3f%c3%a4', { host: 'host', port: 10809 }, 'a b?ä', 'nbd://host/a%20b%3F%C3%A4'],
    ['nbd+unix:///?socket=/run/x.sock', { path: '/run/x.sock' }, '', 'nbd+unix:///?socket=/run/x.sock'],
    ['nbd+unix:///web01/vda?socket=/a', { path: '/a' }, 'web01/vda', 'nbd+unix:///web01/vda?socket=/a'],
    ['nbd+unix://?socket=%2Fa%20b', { path: '/a b' }, '', 'nbd+unix:///?socket=/a%20b'],
  ])('%s', (text, address, exportName, canonical) => {
    expect(parseNbdUri(text)).toEqual({ address, exportName, canonical })
    expect(parseNbdUri(canonical)).toEqual({ address, exportName, canonical })
  })
})

describe('what is refused', () => {
  test.each([
    ['nbds://host/x', 'TLS'],
    ['nbds+unix:///x?socket=/a', 'TLS'],
    ['nbd+vsock://1/x', 'scheme "nbd+vsock"'],
    ['nbd:host:10809', 'SCHEME://'],
    ['nbd:///x', 'the host is missing'],
    ['nbd://user@host/x', 'user'],
    ['nbd://host:0/x', 'port 0'],
    ['nbd://host:65536/x', 'port 65536'],
    ['nbd://host:x/', 'no host and port'],
    ['nbd://::1/', 'no host and port'],
    ['nbd://host/x?socket=/a', 'no parameters'],
    ['nbd://host/x#y', 'fragment'],
    ['nbd://host/%zz', 'percent-encoded'],
    ['nbd://host/%ff', 'percent-encoded'],
    ['nbd://host/%00', 'zero byte'],
    ['nbd://host/\ud800', 'Unicode'],
    [`nbd://host/${'x'.repeat(4097)}`, '4096'],
    ['nbd+unix:///x', 'socket=/PATH is missing'],
    ['nbd+unix:///x?socket=', 'absolute'],
    ['nbd+unix:///x?socket=a', 'absolute'],
    ['nbd+unix://host/x?socket=/a', 'host'],
    ['nbd+unix:///x?socket=/a&socket=/b', 'twice'],
    ['nbd+unix:///x?socket=/a&tls-certificates=/b', 'tls-certificates'],
    [`nbd+unix:///x?socket=/${'a'.repeat(107)}`, '107'],
  ])('%s', (text, problem) => {
    try {
      parseNbdUri(text)
      expect.unreachable()
    } catch (error) {
      expect(error).toBeInstanceOf(VmcacheError)
      expect((error as VmcacheError).code).toBe('BAD_URI')
      expect((error as VmcacheError).message).toContain(problem)
      expect((error as VmcacheError).message).not.toContain('\n')
      expect((error as VmcacheError).hint).toContain('nbd+unix:///EXPORT?socket=')
    }
  })
})

test.each([
  ['nbd://host', true],
  ['nbds://host', true],
  ['nbd+unix:///', true],
  ['nbd:host', true],
  ['/var/lib/nbd.img', false],
  ['nbd.img', false],
  ['file:///x', false],
])('%s is meant as an NBD URI: %s', (text, expected) => {
  expect(looksLikeNbdUri(text)).toBe(expected)
})

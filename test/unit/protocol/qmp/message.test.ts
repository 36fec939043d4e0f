import { expect, test } from 'vitest'
import { LineSplitter } from '../../../../src/protocol/qmp/line-splitter.js'
import { decodeMessage, encodeCommand } from '../../../../src/protocol/qmp/message.js'

test('a command is one line', () => {
  expect(encodeCommand({ id: 3, command: 'stop' })).toBe('{"execute":"stop","id":3}\n')
  expect(encodeCommand({ id: 4, command: 'quit', arguments: { text: 'a\nb' } })).toBe(
    '{"execute":"quit","arguments":{"text":"a\\nb"},"id":4}\n',
  )
  expect(JSON.parse(encodeCommand({ id: 5, command: 'yank', arguments: {}, outOfBand: true }))).toEqual({
    'exec-oob': 'yank',
    arguments: {},
    id: 5,
  })
})

test('what QEMU 7.2 says is understood', () => {
  expect(
    decodeMessage('{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}'),
  ).toEqual({ kind: 'greeting', capabilities: ['oob'] })
  expect(decodeMessage('{"return": {}, "id": 7}')).toEqual({ kind: 'answer', id: 7, value: {} })
  expect(decodeMessage('{"id": 8, "error": {"class": "GenericError", "desc": "Error flushing drive"}}')).toEqual({
    kind: 'error',
    id: 8,
    class: 'GenericError',
    description: 'Error flushing drive',
  })
  expect(decodeMessage('{"timestamp": {"seconds": 1700000000, "microseconds": 250999}, "event": "STOP"}')).toEqual({
    kind: 'event',
    event: { name: 'STOP', data: {}, at: 1_700_000_000_250 },
  })
})

test.each(['', 'hello', '{', '[]', 'null', '"x"', '{"id":1}', '{"QMP":1}', '{"error":"no"}', '{"event":3}'])(
  '%j is no message',
  (line) => {
    expect(() => decodeMessage(line)).toThrow(expect.objectContaining({ code: 'HYPERVISOR' }))
  },
)

test('lines are cut out of any pieces, characters of several bytes too', () => {
  const text = Buffer.from('{"a":"é🙂"}\r\n\n{"b":2}\n{"c"')
  for (let size = 1; size <= text.length; size++) {
    const splitter = new LineSplitter()
    const lines: string[] = []
    for (let at = 0; at < text.length; at += size) lines.push(...splitter.push(text.subarray(at, at + size)))
    expect(lines).toEqual(['{"a":"é🙂"}', '{"b":2}'])
    expect(splitter.push(Buffer.from(':3}\n'))).toEqual(['{"c":3}'])
  }
})

test('a line without end is refused before it fills the memory', () => {
  const splitter = new LineSplitter(1000)
  expect(() => {
    for (let piece = 0; piece < 20; piece++) splitter.push(Buffer.alloc(100, 'x'))
  }).toThrow(expect.objectContaining({ code: 'HYPERVISOR' }))
})

import { expect, test } from 'vitest'
import { loadPaint, PLAIN, wantsColour } from '../../../src/cli/paint.js'

test.each([
  [{ isTTY: true }, false, { TERM: 'xterm' }, true],
  [{ isTTY: false }, false, { TERM: 'xterm' }, false],
  [{}, false, { TERM: 'xterm' }, false],
  [{ isTTY: true }, true, { TERM: 'xterm' }, false],
  [{ isTTY: true }, false, { TERM: 'xterm', NO_COLOR: '1' }, false],
  [{ isTTY: true }, false, { TERM: 'xterm', NO_COLOR: '' }, true],
  [{ isTTY: true }, false, { TERM: 'dumb' }, false],
])('stream %j, --no-color %j, environment %j: colours %j', (stream, noColour, environment, wanted) => {
  expect(wantsColour(stream, noColour, environment)).toBe(wanted)
})

test('without colours text stays as it is', async () => {
  expect(await loadPaint(false)).toBe(PLAIN)
  expect(PLAIN.bad('failed')).toBe('failed')
  expect((await loadPaint(true)).bad('failed')).toBe('\u001b[31mfailed\u001b[39m')
})

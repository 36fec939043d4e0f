/** Where the destage of a log begins. */
import { expect, test } from 'vitest'
import { LogReplay } from '../../../../src/engine/log/replay.js'
import { TestLog } from './test-log.js'

test('a log of which all was settled and reclaimed is replayed from the chunk that comes next', async () => {
  const test = await TestLog.create()
  await test.fillChunks(0, 1, 2)
  await test.run(test.log.setWriteBack(true))
  while (test.log.chunks.length > 0) {
    test.log.reclaim()
    await test.idle()
  }
  const replay = LogReplay.at(test.log)
  const memory = Buffer.alloc(1024 * 1024)
  expect(await test.run(replay.nextSpan(memory, false))).toBeUndefined()
  await test.write(7, 2)
  await test.commit()
  const span = await test.run(replay.nextSpan(memory, false))
  expect(span?.overlaps(7, 7)).toBe(true)
  replay.rest()
})

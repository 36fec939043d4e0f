import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { isRunning } from '../../../../src/base/system/is-running.ts'

test('a process runs, one that ended does not', async () => {
  expect(isRunning(process.pid)).toBe(true)
  expect(isRunning(1)).toBe(true)
  const child = spawn('true')
  const pid = child.pid!
  await once(child, 'exit')
  expect(isRunning(pid)).toBe(false)
})

test('one that nobody waited for has ended all the same', async () => {
  // The shell starts a child, and becomes a program that knows nothing of it.
  const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const pid = Number(String((await once(parent.stdout, 'data'))[0]))
    while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(() => process.kill(pid, 0)).not.toThrow()
  } finally {
    parent.kill('SIGKILL')
  }
})

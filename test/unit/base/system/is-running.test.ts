import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
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
  // The shell starts a child, and becomes a program that knows nothing of it; only then the child ends.
  const parent = spawn('sh', ['-c', 'exec 3<&0; cat <&3 & echo $!; exec sleep 60'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  try {
    const pid = Number(String((await once(parent.stdout, 'data'))[0]))
    const nameOf = (): Promise<string> => readFile(`/proc/${parent.pid!}/comm`, 'utf8')
    while ((await nameOf()).trim() !== 'sleep') await new Promise((resolve) => setTimeout(resolve, 5))
    expect(isRunning(pid)).toBe(true)
    parent.stdin.end()
    while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(() => process.kill(pid, 0)).not.toThrow()
  } finally {
    parent.kill('SIGKILL')
  }
})

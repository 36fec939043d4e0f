import { writeFileSync } from 'node:fs'
import type { Reporter, TestCase, TestModule } from 'vitest/node'

type UnhandledErrors = Parameters<NonNullable<Reporter['onTestRunEnd']>>[1]

/**
 * Vitest's reporter for bin/check: a line per test file, failures in full, and the counts with the reason of every
 * skipped test as JSON in the file that VMCACHE_TEST_SUMMARY names.
 */
export default class SummaryReporter implements Reporter {
  onTestModuleEnd(module: TestModule): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 }
    for (const test of module.children.allTests()) counts[test.result().state]++
    const parts = Object.entries(counts).filter(([, count]) => count > 0)
    const words = parts.map(([state, count]) => `${count} ${state}`).join(', ') || 'no tests'
    const seconds = (module.diagnostic().duration / 1000).toFixed(1)
    process.stdout.write(`${module.ok() ? 'ok    ' : 'FAILED'} ${module.relativeModuleId} (${words}, ${seconds} s)\n`)
    for (const error of module.errors()) write(module.relativeModuleId, error)
    for (const suite of module.children.allSuites()) for (const error of suite.errors()) write(suite.fullName, error)
  }

  onTestCaseResult(test: TestCase): void {
    for (const error of test.result().errors ?? []) write(`${test.module.relativeModuleId} > ${test.fullName}`, error)
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: UnhandledErrors): void {
    for (const error of unhandled) write('outside of a test', error)
    const tests = modules.flatMap((module) => [...module.children.allTests()])
    const count = (state: string): number => tests.filter((test) => test.result().state === state).length
    const brokenModules = modules.filter((module) => module.errors().length > 0).length
    const summary = {
      passed: count('passed'),
      failed: count('failed') + brokenModules + unhandled.length,
      skipped: count('skipped'),
      skips: tests
        .filter((test) => test.result().state === 'skipped')
        .map((test) => ({
          name: `${test.module.relativeModuleId} > ${test.fullName}`,
          reason: noteOf(test) ?? 'no reason given',
        })),
    }
    const file = process.env['VMCACHE_TEST_SUMMARY']
    if (file !== undefined) writeFileSync(file, JSON.stringify(summary))
  }
}

function noteOf(test: TestCase): string | undefined {
  const result = test.result()
  return result.state === 'skipped' ? result.note : undefined
}

/** Of the stack only our own lines: its head is another text where Vitest made the error, as after a timeout. */
function write(where: string, error: { name?: string; message?: string; stack?: string; diff?: string }): void {
  const frames = error.stack?.split('\n').filter((line) => /^\s+at (?!.*node_modules)/.test(line)) ?? []
  const head = `${error.name ?? 'Error'}: ${error.message ?? ''}`
  const text = [head, ...frames, error.diff].filter((part) => part !== undefined).join('\n')
  process.stdout.write(`FAILED ${where}\n${text.replace(/^/gm, '  ')}\n`)
}

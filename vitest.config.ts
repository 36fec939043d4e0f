import { defineConfig } from 'vitest/config'

// One worker per core at most: many tests start engines and foreign programs of their own. The limits are for what hangs:
// on a busy machine a test may well take ten times as long as on an idle one.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    disableConsoleIntercept: true,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
  },
})

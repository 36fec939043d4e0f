import { defineConfig } from 'vitest/config'

// One worker per core at most: many tests start engines and foreign programs of their own.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    disableConsoleIntercept: true,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
})

import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { LatencyHistogram } from '../../../src/base/histogram.js'
import { SeededRandom } from '../../../src/base/random.js'

describe('LatencyHistogram', () => {
  it('has no percentile without values', () => {
    expect(new LatencyHistogram().percentile(0.5)).toBeNull()
  })

  it('is within 5 % of every value from 1 us to 60 s', () => {
    for (let value = 1; value <= 60_000_000; value *= 1.003) {
      const histogram = new LatencyHistogram()
      histogram.record(value)
      expect(Math.abs(histogram.percentile(0.5)! / value - 1), `${value} us`).toBeLessThan(0.05)
    }
  })

  it('takes what is out of range as its nearest', () => {
    for (const [value, nearest] of [
      [0, 0],
      [-5, 0],
      [1e12, 60e6],
      [Infinity, 60e6],
    ] as const) {
      const histogram = new LatencyHistogram()
      histogram.record(value)
      expect(histogram.total).toBe(1)
      expect(histogram.percentile(1)! - nearest, `${value}`).toBeLessThan(nearest * 0.05 + 0.1)
    }
  })

  it('agrees with sorting on percentiles of many values', () => {
    const random = new SeededRandom(7)
    const values = Array.from({ length: 20_000 }, () => Math.exp((random.below(1e6) / 1e6) * 17))
    const histogram = new LatencyHistogram()
    for (const value of values) histogram.record(value)
    values.sort((a, b) => a - b)
    for (const share of [0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.ceil(share * values.length) - 1]!
      expect(Math.abs(histogram.percentile(share)! / exact - 1), `p${share}`).toBeLessThan(0.05)
    }
    expect(histogram.total).toBe(values.length)
    expect(histogram.sumMicroseconds).toBeCloseTo(
      values.reduce((a, b) => a + b),
      0,
    )
    expect(histogram.below(1024)).toBe(values.filter((value) => value < 1024).length)
    expect(histogram.below(2 ** 30)).toBe(values.length)
  })

  it('is read by one thread while another records', async () => {
    const buffer = new SharedArrayBuffer(LatencyHistogram.LENGTH * 8)
    const histogram = new LatencyHistogram(new Float64Array(buffer))
    histogram.record(100)
    const read = `
      const { parentPort, workerData } = require('node:worker_threads')
      parentPort.postMessage(new Float64Array(workerData).reduce((a, b) => a + b))`
    const worker = new Worker(read, { eval: true, workerData: buffer })
    const sum = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    expect(sum).toBe(101)
    await worker.terminate()
  })
})

import { describe, expect, it } from 'vitest'
import {
  COUNTER,
  type CounterName,
  DiskCounters,
  difference,
  sumOf,
} from '../../../../src/engine/statistics/disk-counters.js'
import { diskStats } from '../../../../src/engine/statistics/stats-documents.js'

const names = Object.keys(COUNTER) as CounterName[]

describe('DiskCounters', () => {
  it('keeps every counter and histogram apart', () => {
    const counters = DiskCounters.create()
    names.forEach((name, index) => counters.add(COUNTER[name], index + 1))
    counters.read.record(10)
    counters.write.record(200)
    counters.write.record(200)
    counters.flush.record(3000)
    names.forEach((name, index) => expect(counters.get(name), name).toBe(index + 1))
    expect([counters.read.total, counters.write.total, counters.flush.total]).toEqual([1, 2, 1])
  })

  it('shows one thread what another counts, through the buffer alone', () => {
    const counting = DiskCounters.create()
    const reading = new DiskCounters(counting.buffer)
    counting.add(COUNTER.readBytes, 4096)
    counting.flush.record(50)
    expect(reading.get('readBytes')).toBe(4096)
    expect(reading.flush.total).toBe(1)
  })

  it('adds the counters of several threads and takes differences', () => {
    const [one, two] = [DiskCounters.create(), DiskCounters.create()]
    one.add(COUNTER.reads, 3)
    two.add(COUNTER.reads, 4)
    two.read.record(10)
    const before = sumOf([one, two])
    one.add(COUNTER.reads, 5)
    one.read.record(10)
    const since = difference(sumOf([one, two]), before)
    expect(before.get('reads')).toBe(7)
    expect(since.get('reads')).toBe(5)
    expect(since.read.total).toBe(1)
  })
})

describe('diskStats', () => {
  const now = { disk: 'web01/vda', cache: 'fast', dirtyBytes: 0, dirtyAgeSeconds: null }

  it('says null, not zero, where nothing happened', () => {
    const document = diskStats({ seconds: 1, counters: DiskCounters.create() }, now)
    expect(document).toMatchObject({ ...now, reads: 0, hitRatio: null, deviceBytesPerByte: null })
    expect(document.latencyMicroseconds.read).toEqual({ p50: null, p99: null, p999: null })
  })

  it('derives ratios and percentiles', () => {
    const counters = DiskCounters.create()
    counters.add(COUNTER.reads, 4)
    counters.add(COUNTER.readHits, 3)
    counters.add(COUNTER.admittedBytes, 1000)
    counters.add(COUNTER.deviceWrittenBytes, 1300)
    counters.add(COUNTER.relocatedBytes, 200)
    for (let i = 0; i < 98; i++) counters.read.record(64)
    counters.read.record(1100)
    counters.read.record(9000)
    const document = diskStats({ seconds: 300, counters }, now)
    expect(document).toMatchObject({
      seconds: 300,
      hitRatio: 0.75,
      deviceBytesPerByte: 1.3,
      relocatedBytesPerByte: 0.2,
    })
    const { p50, p99, p999 } = document.latencyMicroseconds.read
    expect([p50! / 64, p99! / 1100, p999! / 9000].every((factor) => Math.abs(factor - 1) < 0.05)).toBe(true)
  })
})

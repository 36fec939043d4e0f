import { describe, expect, it } from 'vitest'
import type { EngineCache } from '../../../../src/engine/engine.js'
import { COUNTER, DiskCounters } from '../../../../src/engine/statistics/disk-counters.js'
import { type MeasuredDisk, prometheusText } from '../../../../src/engine/statistics/prometheus.js'

interface Metric {
  type: string
  help: string
  samples: { name: string; labels: Record<string, string>; value: number }[]
}

/** Reads the text format strictly: HELP, TYPE, then samples of that family alone, each series once, a line feed at the end. */
function parse(text: string): Map<string, Metric> {
  const metrics = new Map<string, Metric>()
  const seen = new Set<string>()
  let current: [string, Metric] | undefined
  let help: [string, string] | undefined
  expect(text === '' || text.endsWith('\n')).toBe(true)
  for (const line of text.split('\n').slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line)
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string]
      if (kind === 'HELP') help = [name, rest]
      else {
        expect(help?.[0]).toBe(name)
        expect(metrics.has(name), `${name} twice`).toBe(false)
        expect(['counter', 'gauge', 'histogram']).toContain(rest)
        current = [name, { type: rest, help: help![1], samples: [] }]
        metrics.set(...current)
      }
      continue
    }
    const sample =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\} (\S+)$/.exec(line)
    expect(sample, line).not.toBeNull()
    const [, name, labelText, value] = sample as unknown as [string, string, string, string]
    const suffix = name.slice(current![0].length)
    expect(name.startsWith(current![0])).toBe(true)
    expect(current![1].type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']).toContain(suffix)
    expect(seen.has(name + labelText), line).toBe(false)
    seen.add(name + labelText)
    const labels: Record<string, string> = {}
    for (const [, label, quoted] of labelText.matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)) {
      labels[label!] = quoted!.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
    }
    expect(Number.isFinite(Number(value)), line).toBe(true)
    current![1].samples.push({ name, labels, value: Number(value) })
  }
  return metrics
}

const cache: EngineCache = {
  name: 'fast',
  state: 'degraded',
  blockSizeBytes: 4096,
  chunkSizeBytes: 2 ** 24,
  chunks: { total: 100, free: 40, disk: 60, checkpoint: 0, mirror: 0, reserved: 0 },
  sizeBytes: 100 * 2 ** 24,
  indexBytes: 12345,
  dirtyBytes: 0,
  dirtyAgeSeconds: null,
  devices: [
    { id: 'a', path: '/dev/nvme0n1', sizeBytes: 1, chunks: 50, state: 'ok', errors: 0 },
    { id: 'b', path: '/dev/nvme1n1', sizeBytes: 1, chunks: 50, state: 'failed', errors: 3 },
  ],
}

function disk(name: string): MeasuredDisk {
  const counters = DiskCounters.create()
  return {
    document: {
      disk: name,
      cache: 'fast',
      sizeBytes: 2 ** 40,
      allocatedBytes: 2 ** 30,
      cachedBytes: 2 ** 29,
      dirtyBytes: 4096,
      dirtyAgeSeconds: 2.5,
      secondsToFlush: 4,
      stuckPages: 2,
      lostPages: 1,
      state: 'serving',
    },
    counters,
    threads: new Map([[0, counters]]),
  }
}

describe('prometheusText', () => {
  it('is empty for nothing', () => {
    expect(prometheusText([], [])).toBe('')
  })

  it('is well formed, whatever a disk is called', () => {
    const names = ['web01/vda', 'quote"back\\slash', 'line\nfeed', 'a,b="c"} 1', 'ümläut']
    const metrics = parse(prometheusText([cache], names.map(disk)))
    for (const [name, metric] of metrics) {
      expect(metric.help).toMatch(/\.$/)
      expect(name.endsWith('_total')).toBe(metric.type === 'counter')
    }
    expect(metrics.get('vmcache_disk_reads_total')!.samples.map(({ labels }) => labels['disk'])).toEqual(names)
  })

  it('tells counters, gauges, chunks and devices', () => {
    const measured = disk('web01/vda')
    measured.counters.add(COUNTER.reads, 5)
    measured.counters.add(COUNTER.deviceWrittenBytes, 2 ** 50)
    const metrics = parse(prometheusText([cache], [measured]))
    const value = (name: string, labels: Record<string, string> = {}): number | undefined =>
      metrics
        .get(name)
        ?.samples.find((sample) => Object.entries(labels).every(([label, text]) => sample.labels[label] === text))
        ?.value
    expect(value('vmcache_disk_reads_total')).toBe(5)
    expect(value('vmcache_disk_device_written_bytes_total')).toBe(2 ** 50)
    expect(value('vmcache_disk_dirty_age_seconds')).toBe(2.5)
    expect(value('vmcache_cache_open')).toBe(0)
    expect(value('vmcache_cache_chunks', { use: 'free' })).toBe(40)
    expect(value('vmcache_device_up', { path: '/dev/nvme1n1' })).toBe(0)
    expect(value('vmcache_device_errors_total', { device: 'b' })).toBe(3)

    const other = DiskCounters.create()
    other.add(COUNTER.readHits, 7)
    const threads = new Map([...measured.threads, [3, other]])
    const { samples } = parse(prometheusText([], [{ ...measured, threads }])).get(
      'vmcache_disk_thread_read_hits_total',
    )!
    expect(samples.map(({ labels, value }) => [labels['thread'], value])).toEqual([
      ['0', 0],
      ['3', 7],
    ])
  })

  it('has cumulative latency buckets that end in the count', () => {
    const measured = disk('web01/vda')
    for (const microseconds of [3, 20, 20, 70, 5000, 1e9]) measured.counters.read.record(microseconds)
    const { samples } = parse(prometheusText([], [measured])).get('vmcache_disk_read_latency_seconds')!
    const buckets = samples.filter(({ name }) => name.endsWith('_bucket'))
    const bounds = buckets.map(({ labels }) => (labels['le'] === '+Inf' ? Infinity : Number(labels['le'])))
    const counts = buckets.map(({ value }) => value)
    expect(bounds).toEqual([...bounds].sort((a, b) => a - b))
    expect(counts).toEqual([...counts].sort((a, b) => a - b))
    expect(bounds.at(-1)).toBe(Infinity)
    expect(counts.at(-1)).toBe(6)
    expect(samples.find(({ name }) => name.endsWith('_count'))!.value).toBe(6)
    expect(samples.find(({ name }) => name.endsWith('_sum'))!.value).toBeCloseTo(60.005113, 6)
    expect(counts[bounds.indexOf(0.000016)]).toBe(1)
    expect(counts[bounds.indexOf(0.000064)]).toBe(3)
  })
})

import type { LatencyHistogram } from '../../base/histogram.js'
import type { EngineCache, EngineDisk } from '../engine.js'
import type { CounterName, DiskCounters } from './disk-counters.js'

/** A disk as it is now, with what was counted since it was attached. */
export interface MeasuredDisk {
  readonly document: Pick<
    EngineDisk,
    | 'disk'
    | 'cache'
    | 'sizeBytes'
    | 'allocatedBytes'
    | 'cachedBytes'
    | 'dirtyBytes'
    | 'dirtyAgeSeconds'
    | 'secondsToFlush'
    | 'stuckPages'
    | 'lostPages'
    | 'state'
  >
  readonly counters: DiskCounters
  /** The parts of that, by the number of the I/O thread. */
  readonly threads: ReadonlyMap<number, DiskCounters>
}

/** Everything that is known of caches and disks, in Prometheus text format 0.0.4. */
export function prometheusText(caches: readonly EngineCache[], disks: readonly MeasuredDisk[]): string {
  return [...cacheFamilies(caches), ...diskFamilies(disks)].map(familyText).join('')
}

type Labels = Readonly<Record<string, string>>
type Sample = readonly [suffix: string, labels: Labels, value: number]
interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly samples: readonly Sample[]
}

/** Counters of a disk: place, name and help of the metric. */
const DISK_COUNTERS: readonly (readonly [CounterName, string, string])[] = [
  ['reads', 'reads_total', 'Read requests.'],
  ['writes', 'writes_total', 'Write requests.'],
  ['flushes', 'flushes_total', 'Flush requests.'],
  ['readBytes', 'read_bytes_total', 'Bytes that clients read.'],
  ['writtenBytes', 'written_bytes_total', 'Bytes that clients wrote.'],
  ['readHits', 'read_hits_total', 'Read requests answered from the cache alone.'],
  ['writeHits', 'write_hits_total', 'Write requests to cached pages.'],
  ['originReads', 'origin_reads_total', 'Reads sent to the origin.'],
  ['originWrites', 'origin_writes_total', 'Writes sent to the origin.'],
  ['evictions', 'evictions_total', 'Pages dropped to make room.'],
  ['reinsertions', 'reinsertions_total', 'Pages appended again because they are hot.'],
  ['deviceReadBytes', 'device_read_bytes_total', 'Bytes read from the cache device.'],
  ['deviceWrittenBytes', 'device_written_bytes_total', 'Bytes written to the cache device.'],
  ['admittedBytes', 'admitted_bytes_total', 'Bytes that clients wrote or misses filled into the cache.'],
  ['relocatedBytes', 'relocated_bytes_total', 'Bytes of pages appended again.'],
  ['barriers', 'barriers_total', 'Flushes and FUA writes that made something stable in write-back.'],
  ['originBarriers', 'origin_barriers_total', 'Barriers that the origin has passed.'],
  ['scrubbedPages', 'scrubbed_pages_total', 'Pages that scrubs read back from the cache device.'],
  ['repairedPages', 'repaired_pages_total', 'Bad pages that scrubs read from the origin again.'],
]

/** Upper bounds of latency buckets: every second power of two from 16 us to 67 s; the histogram is exact there. */
const LATENCY_BOUNDS_MICROSECONDS = Array.from({ length: 12 }, (_, index) => 2 ** (4 + 2 * index))

function diskFamilies(disks: readonly MeasuredDisk[]): Family[] {
  const labels = ({ document }: MeasuredDisk): Labels => ({ disk: document.disk, cache: document.cache })
  const gauge = (name: string, help: string, value: (disk: MeasuredDisk) => number): Family => ({
    name: `vmcache_disk_${name}`,
    help,
    type: 'gauge',
    samples: disks.map((disk) => ['', labels(disk), value(disk)]),
  })
  const latency = (name: string, histogram: (counters: DiskCounters) => LatencyHistogram): Family => ({
    name: `vmcache_disk_${name}_latency_seconds`,
    help: `Time from a ${name} request to its answer.`,
    type: 'histogram',
    samples: disks.flatMap((disk) => latencySamples(labels(disk), histogram(disk.counters))),
  })
  return [
    ...DISK_COUNTERS.map(([counter, name, help]): Family => ({
      name: `vmcache_disk_${name}`,
      help,
      type: 'counter',
      samples: disks.map((disk) => ['', labels(disk), disk.counters.get(counter)]),
    })),
    {
      name: 'vmcache_disk_thread_read_hits_total',
      help: 'Read requests answered from the cache alone, by I/O thread.',
      type: 'counter',
      samples: disks.flatMap((disk) =>
        [...disk.threads].map(([thread, counters]): Sample => [
          '',
          { ...labels(disk), thread: String(thread) },
          counters.get('readHits'),
        ]),
      ),
    },
    latency('read', (counters) => counters.read),
    latency('write', (counters) => counters.write),
    latency('flush', (counters) => counters.flush),
    gauge('size_bytes', 'Size of the disk.', ({ document }) => document.sizeBytes),
    gauge('allocated_bytes', 'Cache space that the disk holds.', ({ document }) => document.allocatedBytes),
    gauge('cached_bytes', 'Bytes of the disk that are cached.', ({ document }) => document.cachedBytes),
    gauge('dirty_bytes', 'Bytes that the origin lacks.', ({ document }) => document.dirtyBytes),
    gauge(
      'dirty_age_seconds',
      'Age of the oldest write that the origin lacks.',
      ({ document }) => document.dirtyAgeSeconds ?? 0,
    ),
    gauge(
      'flush_seconds',
      'Time until the origin has everything, about.',
      ({ document }) => document.secondsToFlush ?? 0,
    ),
    gauge('stuck_pages', 'Dirty pages that the origin refuses.', ({ document }) => document.stuckPages),
    gauge('lost_pages', 'Dirty pages that the cache device lost.', ({ document }) => document.lostPages),
    gauge('serving', '1 if the disk is served through its cache.', ({ document }) =>
      Number(document.state === 'serving'),
    ),
  ]
}

function cacheFamilies(caches: readonly EngineCache[]): Family[] {
  const gauge = (name: string, help: string, value: (cache: EngineCache) => number): Family => ({
    name: `vmcache_cache_${name}`,
    help,
    type: 'gauge',
    samples: caches.map((cache) => ['', { cache: cache.name }, value(cache)]),
  })
  const deviceFamily = (
    name: string,
    help: string,
    type: 'counter' | 'gauge',
    value: (device: EngineCache['devices'][number]) => number,
  ): Family => ({
    name: `vmcache_device_${name}`,
    help,
    type,
    samples: caches.flatMap((cache) =>
      cache.devices.map((device): Sample => [
        '',
        { cache: cache.name, device: device.id, path: device.path },
        value(device),
      ]),
    ),
  })
  return [
    gauge('size_bytes', 'Size of the cache.', (cache) => cache.sizeBytes),
    gauge('index_bytes', 'Memory of the index.', (cache) => cache.indexBytes),
    gauge('dirty_bytes', 'Bytes that origins lack.', (cache) => cache.dirtyBytes),
    gauge('dirty_age_seconds', 'Age of the oldest write that an origin lacks.', (cache) => cache.dirtyAgeSeconds ?? 0),
    gauge('open', '1 if the cache is open with all its devices.', (cache) => Number(cache.state === 'open')),
    {
      name: 'vmcache_cache_chunks',
      help: 'Chunks of the cache by use.',
      type: 'gauge',
      samples: caches.flatMap((cache) =>
        (['free', 'disk', 'checkpoint', 'mirror', 'reserved'] as const).map((use): Sample => [
          '',
          { cache: cache.name, use },
          cache.chunks[use],
        ]),
      ),
    },
    deviceFamily('up', '1 if the device works.', 'gauge', (device) => Number(device.state === 'ok')),
    deviceFamily('errors_total', 'Errors of the device.', 'counter', (device) => device.errors),
  ]
}

function latencySamples(labels: Labels, histogram: LatencyHistogram): Sample[] {
  // Taken once: another thread counts on, and _count must equal the last bucket.
  const buckets = LATENCY_BOUNDS_MICROSECONDS.map((bound) => [bound, histogram.below(bound)] as const)
  const total = Math.max(histogram.total, buckets.at(-1)![1])
  return [
    ...buckets.map(([bound, count]): Sample => ['_bucket', { ...labels, le: String(bound / 1e6) }, count]),
    ['_bucket', { ...labels, le: '+Inf' }, total],
    ['_sum', labels, histogram.sumMicroseconds / 1e6],
    ['_count', labels, total],
  ]
}

function familyText({ name, help, type, samples }: Family): string {
  if (samples.length === 0) return ''
  const lines = samples.map(([suffix, labels, value]) => `${name}${suffix}${labelsText(labels)} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function labelsText(labels: Labels): string {
  const escape = (value: string): string =>
    value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${escape(value)}"`)
    .join(',')}}`
}

import type { LatencyHistogram } from '../../base/histogram.js'
import type { CacheStatsDocument, DiskStatsDocument, LatencyDocument } from '../../protocol/control/documents.js'
import type { DiskCounters } from './disk-counters.js'
import type { CountedSpan } from './windows.js'

export function diskStats(
  { seconds, counters }: CountedSpan,
  now: Pick<DiskStatsDocument, 'disk' | 'cache' | 'dirtyBytes' | 'dirtyAgeSeconds'>,
): DiskStatsDocument {
  return {
    disk: now.disk,
    cache: now.cache,
    seconds,
    reads: counters.get('reads'),
    writes: counters.get('writes'),
    flushes: counters.get('flushes'),
    readBytes: counters.get('readBytes'),
    writtenBytes: counters.get('writtenBytes'),
    readHits: counters.get('readHits'),
    writeHits: counters.get('writeHits'),
    hitRatio: ratio(counters.get('readHits'), counters.get('reads')),
    originReads: counters.get('originReads'),
    originWrites: counters.get('originWrites'),
    dirtyBytes: now.dirtyBytes,
    dirtyAgeSeconds: now.dirtyAgeSeconds,
    evictions: counters.get('evictions'),
    reinsertions: counters.get('reinsertions'),
    deviceBytesPerByte: ratio(counters.get('deviceWrittenBytes'), counters.get('admittedBytes')),
    relocatedBytesPerByte: ratio(counters.get('relocatedBytes'), counters.get('admittedBytes')),
    barriers: counters.get('barriers'),
    originBarriers: counters.get('originBarriers'),
    scrubbedPages: counters.get('scrubbedPages'),
    repairedPages: counters.get('repairedPages'),
    latencyMicroseconds: {
      read: latency(counters.read),
      write: latency(counters.write),
      flush: latency(counters.flush),
    },
  }
}

/** A cache is the sum of its disks. */
export function cacheStats(cache: string, disks: readonly DiskCounters[]): CacheStatsDocument {
  const sum = (name: Parameters<DiskCounters['get']>[0]): number =>
    disks.reduce((total, counters) => total + counters.get(name), 0)
  return {
    cache,
    reads: sum('reads'),
    readHits: sum('readHits'),
    hitRatio: ratio(sum('readHits'), sum('reads')),
    deviceReadBytes: sum('deviceReadBytes'),
    deviceWrittenBytes: sum('deviceWrittenBytes'),
  }
}

function latency(histogram: LatencyHistogram): LatencyDocument {
  return { p50: histogram.percentile(0.5), p99: histogram.percentile(0.99), p999: histogram.percentile(0.999) }
}

function ratio(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole
}

import type { DiskMeter } from '../disk/disk.js'
import { COUNTER, type DiskCounters } from './disk-counters.js'

/** What a disk counts, into the counters that the main thread reads. */
export class SharedDiskMeter implements DiskMeter {
  /** Pages that did not have their checksum; told on its own, as an event. */
  badPages = 0

  constructor(readonly counters: DiskCounters) {}

  get deviceWrittenBytes(): number {
    return this.counters.get('deviceWrittenBytes')
  }
  set deviceWrittenBytes(bytes: number) {
    this.counters.numbers[COUNTER.deviceWrittenBytes] = bytes
  }
  get deviceReadBytes(): number {
    return this.counters.numbers[COUNTER.deviceReadBytes]!
  }
  set deviceReadBytes(bytes: number) {
    this.counters.numbers[COUNTER.deviceReadBytes] = bytes
  }
  get evictions(): number {
    return this.counters.get('evictions')
  }
  set evictions(count: number) {
    this.counters.numbers[COUNTER.evictions] = count
  }
  get reinsertions(): number {
    return this.counters.get('reinsertions')
  }
  set reinsertions(count: number) {
    this.counters.numbers[COUNTER.reinsertions] = count
  }

  get relocatedBytes(): number {
    return this.counters.get('relocatedBytes')
  }
  set relocatedBytes(bytes: number) {
    this.counters.numbers[COUNTER.relocatedBytes] = bytes
  }

  read(bytes: number, hit: boolean, microseconds: number): void {
    const { counters } = this
    counters.add(COUNTER.reads, 1)
    counters.add(COUNTER.readBytes, bytes)
    if (hit) counters.add(COUNTER.readHits, 1)
    counters.read.record(microseconds)
  }

  write(bytes: number, hit: boolean, microseconds: number): void {
    const { counters } = this
    counters.add(COUNTER.writes, 1)
    counters.add(COUNTER.writtenBytes, bytes)
    if (hit) counters.add(COUNTER.writeHits, 1)
    counters.write.record(microseconds)
  }

  flush(microseconds: number): void {
    this.counters.add(COUNTER.flushes, 1)
    this.counters.flush.record(microseconds)
  }

  originRead(): void {
    this.counters.add(COUNTER.originReads, 1)
  }

  originWrite(): void {
    this.counters.add(COUNTER.originWrites, 1)
  }

  barrier(): void {
    this.counters.add(COUNTER.barriers, 1)
  }

  originBarriers(count: number): void {
    this.counters.add(COUNTER.originBarriers, count)
  }

  admitted(bytes: number): void {
    this.counters.add(COUNTER.admittedBytes, bytes)
  }
}

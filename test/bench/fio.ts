import { must } from '../support/processes.js'
import { findProgram } from '../support/programs.js'

/** A load, as fio describes it. */
export interface Load {
  readonly rw: 'randread' | 'randwrite' | 'randrw'
  readonly blockBytes: number
  readonly depth: number
  /** Every block once, in no order, instead of for a time. */
  readonly once?: boolean
  /** Bytes of the disk that are touched. */
  readonly sizeBytes: number
  readonly seconds: number
  /** Part of reads of `randrw`, in percent. */
  readonly readPercent?: number
  /** A flush after so many writes. */
  readonly writesPerFlush?: number
  /** Blocks are chosen by Zipf's law with this exponent, instead of all alike. */
  readonly zipf?: number
}

export interface Rate {
  readonly perSecond: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
  readonly meanMicroseconds: number
}

interface FioSide {
  iops: number
  total_ios: number
  clat_ns: { mean: number; percentile?: Record<string, number> }
}

/** Puts a load on an NBD server and returns what fio measured. */
export async function fio(uri: string, load: Load): Promise<Rate> {
  const args = [
    '--name=load',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${load.rw}`,
    `--bs=${load.blockBytes}`,
    `--iodepth=${load.depth}`,
    `--size=${load.sizeBytes}`,
    ...(load.readPercent === undefined ? [] : [`--rwmixread=${load.readPercent}`]),
    ...(load.writesPerFlush === undefined ? [] : [`--fsync=${load.writesPerFlush}`]),
    ...(load.zipf === undefined ? [] : [`--random_distribution=zipf:${load.zipf}`]),
    ...(load.once === true ? [] : ['--time_based', `--runtime=${load.seconds}`]),
    '--output-format=json',
  ]
  const talk = await must(findProgram('fio')!, args, { timeoutMilliseconds: 300_000 })
  // Its NBD engine says that it is connected, on stdout too.
  const report = JSON.parse(talk.slice(talk.indexOf('{'))) as { jobs: { read: FioSide; write: FioSide }[] }
  const [job] = report.jobs
  const sides = { randread: [job!.read], randwrite: [job!.write], randrw: [job!.read, job!.write] }[load.rw]
  const requests = sides.reduce((sum, { total_ios }) => sum + total_ios, 0)
  // Of both sides of a mixed load: the slower one's percentiles, and the mean of all.
  const percentile = (name: string): number =>
    Math.max(...sides.map(({ clat_ns }) => clat_ns.percentile?.[name] ?? 0)) / 1000
  return {
    perSecond: sides.reduce((sum, { iops }) => sum + iops, 0),
    p50Microseconds: percentile('50.000000'),
    p99Microseconds: percentile('99.000000'),
    meanMicroseconds: sides.reduce((sum, side) => sum + side.clat_ns.mean * side.total_ios, 0) / requests / 1000,
  }
}

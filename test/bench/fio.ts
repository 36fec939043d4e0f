import { must } from '../support/processes.js'
import { findProgram } from '../support/programs.js'

/** A load, as fio describes it. */
export interface Load {
  readonly rw: 'randread' | 'randwrite'
  readonly blockBytes: number
  readonly depth: number
  /** Every block once, in no order, instead of for a time. */
  readonly once?: boolean
  /** Bytes of the disk that are touched. */
  readonly sizeBytes: number
  readonly seconds: number
}

export interface Rate {
  readonly perSecond: number
  readonly p50Microseconds: number
  readonly p99Microseconds: number
}

interface FioSide {
  iops: number
  clat_ns: { percentile: Record<string, number> }
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
    ...(load.once === true ? [] : ['--time_based', `--runtime=${load.seconds}`]),
    '--output-format=json',
  ]
  const talk = await must(findProgram('fio')!, args, { timeoutMilliseconds: 300_000 })
  // Its NBD engine says that it is connected, on stdout too.
  const report = JSON.parse(talk.slice(talk.indexOf('{'))) as { jobs: { read: FioSide; write: FioSide }[] }
  const side = report.jobs[0]![load.rw === 'randread' ? 'read' : 'write']
  return {
    perSecond: side.iops,
    p50Microseconds: side.clat_ns.percentile['50.000000']! / 1000,
    p99Microseconds: side.clat_ns.percentile['99.000000']! / 1000,
  }
}

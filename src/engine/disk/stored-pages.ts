import { NOWHERE } from '../index/page-table.js'
import type { Log } from '../log/log.js'
import { DiskError } from './served-disk.js'

/** What the log stores of a page: the sectors of the map, back to back. */
export interface StoredPage {
  readonly data: Buffer
  readonly sectorMap: number
}

/** The cached pages of a disk, one by one, for paths that may wait. */
export class StoredPages {
  constructor(
    readonly name: string,
    readonly currentLog: () => Log | undefined,
    /** Told of a device that failed. */
    readonly onFailure: (error: unknown) => void,
  ) {}

  /** The sectors of a page that are cached; 0 where it is not. */
  sectorsOf(page: number): number {
    const log = this.currentLog()
    if (log === undefined) return 0
    const location = log.table.find(page)
    if (location === NOWHERE) return 0
    return log.slots[(location / log.entriesPerChunk) | 0]!.columns.sectorMap[location % log.entriesPerChunk]!
  }

  isDirty(page: number): boolean {
    const log = this.currentLog()
    if (log === undefined) return false
    const location = log.table.find(page)
    return location !== NOWHERE && log.isDirty(location)
  }

  /**
   * What is stored of a page, verified; undefined where there is nothing. A page that is not what was written is forgotten, so that it is read from
   * the origin again; a dirty one is nowhere else, so that it is DiskError EIO.
   */
  async read(page: number): Promise<StoredPage | undefined> {
    const log = this.currentLog()
    if (log === undefined) return undefined
    const location = log.table.find(page)
    if (location === NOWHERE) return undefined
    const chunk = log.slots[(location / log.entriesPerChunk) | 0]!
    const ordinal = location % log.entriesPerChunk
    const sectorMap = chunk.columns.sectorMap[ordinal]!
    const wasDirty = log.isDirty(location)
    let data: Buffer | undefined
    try {
      data = await log.readEntry(chunk, ordinal)
    } catch (error) {
      this.onFailure(error)
      if (wasDirty) throw new DiskError('EIO', `disk ${this.name}: a dirty page is on a device that failed`)
      return undefined
    }
    if (data !== undefined) return { data, sectorMap }
    if (wasDirty) {
      throw new DiskError(
        'EIO',
        `disk ${this.name}: page ${page} is damaged on the cache device, and the origin lacks it`,
      )
    }
    if (log.table.find(page) === location) log.forgetBad(page)
    return undefined
  }
}

/** Ways to break the log and the disk, each of which the simulation must notice. */
import type { PlantedFault } from '../support/simulation/variant.ts'

export const PLANTED_FAULTS: readonly PlantedFault[] = [
  {
    name: 'a chunk is sealed before it is synced',
    seed: 7,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `  async #sealNow(chunk: LogChunk): Promise<void> {
    await this.commit()`,
        replace: `  async #sealNow(chunk: LogChunk): Promise<void> {`,
      },
    ],
  },
  {
    name: 'recovery goes on behind a torn frame',
    seed: 11,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `  if (!wasStable) return 'the end'
`,
        replace: `  if (first === undefined) return 'the end'
`,
      },
      {
        file: 'engine/log/recovery.ts',
        find: `for (let at = from; at < bytes.length && !(wasStable && first !== undefined); at += SECTOR_BYTES) {`,
        replace: `for (let at = from; at < bytes.length && first === undefined; at += SECTOR_BYTES) {`,
      },
      {
        file: 'engine/log/recovery.ts',
        find: `        this.#damage()
        columns = columnsAfterDamage(header)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a summary is trusted whatever life of the chunk it is from',
    seed: 38,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `trailer.generation !== header.generation || trailer.session !== header.session`,
        replace: `false`,
      },
    ],
  },
  {
    name: 'a fill is installed although a write began meanwhile',
    seed: 1,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `    this.#fills.cancel(first, last)
    let batch`,
        replace: `    let batch`,
      },
    ],
  },
  {
    name: 'a fill is installed although a write was under way',
    seed: 2,
    edits: [{ file: 'engine/disk/fills.ts', find: `cancelled: changing`, replace: `cancelled: false` }],
  },
  {
    name: 'write-through is stale after a power cut: touched regions are not dropped',
    seed: 3,
    edits: [{ file: 'engine/log/recovery.ts', find: `if (end === 'power-cut') invalid.push(...touched)`, replace: `` }],
  },
  {
    name: 'the mark of a touched region is not synced before the origin is written',
    seed: 19,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `      .then(() => log.commit())
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'touched regions are forgotten after a kill',
    seed: 1,
    edits: [
      { file: 'engine/log/open-log.ts', find: `if (settings.keepPages) log.resumeTouched(plan.touched)`, replace: `` },
    ],
  },
  {
    name: 'a region loses its mark without a flush of the origin',
    seed: 8,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `    await log.commit()
    await this.flush().catch((error: unknown) => {
      if (error instanceof Unprovable) this.#unheard = error
      throw error
    })
    if (log`,
        replace: `    await log.commit()
    if (log`,
      },
    ],
  },
  {
    name: 'unsettled writes are believed after a kill',
    seed: 6,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `if (chunk.nextLsn > settledLsn) invalid`,
        replace: `if (chunk.nextLsn > Infinity) invalid`,
      },
    ],
  },
  {
    name: 'a write counts as settled before the origin has it',
    seed: 1,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `          await batch?.written
`,
        replace: `          await batch?.written
          batch?.settle()
          batch = undefined
`,
      },
    ],
  },
  {
    name: 'settled passes an append that is under way',
    seed: 49,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `          this.#unsettled.push(batch)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'what an earlier recovery cut off comes back: neither freed, nor told from what follows',
    seed: 205,
    edits: [
      { file: 'engine/log/open-log.ts', find: `[...plan.dropped, ...`, replace: `[...` },
      {
        file: 'engine/log/recovery.ts',
        find: `if (header.sequence < limit) members.push(candidate)`,
        replace: `if (limit !== 0) members.push(candidate)`,
      },
    ],
  },
  {
    name: 'what a recovery dropped is not written down',
    seed: 3,
    edits: [
      {
        file: 'engine/log/open-log.ts',
        find: `await log.begin(settings.keepPages ? plan.invalid : [])`,
        replace: `await log.begin([])`,
      },
    ],
  },
  {
    name: 'a page that the origin refused stays in the cache',
    seed: 2,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `if (batch !== undefined) await this.#invalidate(first, last)`,
        replace: ``,
      },
    ],
  },
  {
    name: 'overlapping writes are at the origin together',
    seed: 1,
    edits: [
      {
        file: 'engine/disk/range-locks.ts',
        find: `for (const lock of before) if (!lock.released) await`,
        replace: `for (const lock of before) if (lock === undefined) await`,
      },
    ],
  },
  {
    name: 'a checksum is ignored on the hit path',
    seed: 26,
    edits: [
      {
        file: 'engine/log/log-reader.ts',
        find: `if (checksumOf(this.#page, 0, length) === columns.checksum[ordinal]) return true`,
        replace: `if (columns.checksum[ordinal] !== -1) return true`,
      },
    ],
  },
  {
    name: 'a checksum is ignored where a page is read to be moved or joined',
    seed: 2,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `if (checksumOf(data) === checksum) return data`,
        replace: `if (checksum !== -1) return data`,
      },
    ],
  },
  {
    name: 'a log that is left for good keeps its pages',
    seed: 17,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `        await log.destroy()
      }
      this.#path`,
        replace: `      }
      this.#path`,
      },
    ],
  },
  {
    name: 'an older version of a page is found after a newer one was forgotten',
    seed: 6,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `    this.onForgotten?.(page, count)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a chunk is reused while its old header stands',
    seed: 40,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `    await chunk.device.write(chunk.offset, bytes)
    await chunk.device.commit([{ offset: chunk.offset, length: CHUNK_HEADER_BYTES }])`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a relocated page overtakes the write that replaced it',
    seed: 180,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `relocated === undefined || this.table.find(page) === relocated.location`,
        replace: `true`,
      },
    ],
  },
]

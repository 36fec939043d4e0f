/**
 * Ways to break the log and the disk, each of which the simulation must notice. (What no world meets often enough is broken in the unit tests of
 * the part that it is about.)
 */
import type { PlantedFault } from '../support/simulation/variant.ts'

export const PLANTED_FAULTS: readonly PlantedFault[] = [
  {
    name: 'a chunk is sealed before it is synced',
    seed: 5005,
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
    seed: 12,
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
        find: `at < bytes.length && !(wasStable && first !== undefined); at`,
        replace: `at < bytes.length && first === undefined; at`,
      },
      {
        file: 'engine/log/recovery.ts',
        find: `          this.#damage(behind.frame.portable.lsn)
`,
        replace: ``,
      },
      {
        file: 'engine/log/recovery.ts',
        find: `          if (!this.pastDamage) columns = columnsAfterDamage(header)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a summary is trusted whatever life of the chunk it is from',
    seed: 5007,
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
    seed: 41,
    edits: [
      {
        file: 'engine/disk/through-path.ts',
        find: `    const lock = await locks.acquire(first, last)
    fills.cancel(first, last)
`,
        replace: `    const lock = await locks.acquire(first, last)
`,
      },
      {
        file: 'engine/disk/through-path.ts',
        find: `    if (lock === undefined) return false
    fills.cancel(first, last)
`,
        replace: `    if (lock === undefined) return false
`,
      },
    ],
  },
  {
    name: 'a fill is installed although a write was under way',
    seed: 5046,
    edits: [{ file: 'engine/disk/fills.ts', find: `cancelled: changing`, replace: `cancelled: false` }],
  },
  {
    name: 'write-through is stale after a power cut: touched regions are not dropped',
    seed: 5,
    edits: [{ file: 'engine/log/recovery.ts', find: `if (end === 'power-cut') invalid.push(...touched)`, replace: `` }],
  },
  {
    name: 'the mark of a touched region is not synced before the origin is written',
    seed: 5015,
    edits: [
      {
        file: 'engine/disk/touch-marks.ts',
        find: `      .then(() => log.commit())
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a region loses its mark without a flush of the origin',
    seed: 55,
    habits: {
      mode: 'write-through',
      isSteady: true,
      isTimeless: false,
      pauses: [60, 35000],
      mix: { read: 40, write: 60 },
      ending: 'power-cut',
      faults: ['bits rot'],
      requestsPerFault: 100000,
    },
    edits: [
      {
        file: 'engine/disk/touch-marks.ts',
        find: `    await this.flush()
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'unsettled writes are believed after a kill',
    seed: 5024,
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
    seed: 14,
    edits: [
      {
        file: 'engine/disk/through-path.ts',
        find: `  batch!.join()
  return batch!`,
        replace: `  batch!.join()
  batch!.settle()
  return batch!`,
      },
      {
        file: 'engine/disk/through-path.ts',
        find: `    batch?.settle()
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'settled passes an append that is under way',
    seed: 20088,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `          if (!this.isWriteBack) this.#unsettled.push(batch)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'what an earlier recovery cut off comes back: neither freed, nor told from what follows',
    seed: 1,
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
    seed: 5017,
    edits: [
      {
        file: 'engine/log/open-log.ts',
        find: `await log.begin(settings.keepPages ? plan.invalid : [], bad)`,
        replace: `await log.begin([], bad)`,
      },
    ],
  },
  {
    name: 'a page that the origin refused stays in the cache',
    seed: 6,
    edits: [
      {
        file: 'engine/disk/through-path.ts',
        find: `        if (batch !== undefined) await this.#invalidate(lock)
`,
        replace: ``,
      },
      {
        file: 'engine/disk/through-path.ts',
        find: `batch === undefined ? Promise.resolve() : this.#invalidate(lock)`,
        replace: `Promise.resolve()`,
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
    seed: 6056,
    edits: [
      {
        file: 'engine/log/log-reader.ts',
        find: `checksumOf(this.#page, 0, length) !== columns.checksum[ordinal]`,
        replace: `columns.checksum[ordinal] === -1`,
      },
      {
        file: 'engine/log/log-reader.ts',
        find: `checksumOf(target, at, at + length) === joinedChecksum(checksum, ordinal, pages)`,
        replace: `joinedChecksum(checksum, ordinal, pages) !== -1`,
      },
    ],
  },
  {
    name: 'a checksum is ignored where a page is read to be moved or joined',
    seed: 5019,
    edits: [
      {
        file: 'engine/log/stored-chunk.ts',
        find: `if (checksumOf(data) === checksum) return data`,
        replace: `if (checksum !== -1) return data`,
      },
    ],
  },
  {
    name: 'a log that is left for good keeps its pages',
    seed: 41,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `      await log.destroy()
    } catch`,
        replace: `      await Promise.resolve(log)
    } catch`,
      },
    ],
  },
  {
    name: 'an older version of a page is found after a newer one was forgotten',
    seed: 5006,
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
    seed: 6018,
    edits: [
      {
        file: 'engine/log/free-header.ts',
        find: `    await chunk.device.write(chunk.offset, bytes)
    await chunk.device.commit([{ offset: chunk.offset, length: CHUNK_HEADER_BYTES }])`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a relocated page overtakes the write that replaced it',
    seed: 50,
    habits: {
      mode: 'write-back',
      isSteady: true,
      isNarrow: true,
      isTight: true,
      maximumChunks: 8,
      tasksPerSlowOne: 8,
      writeBack: { dirtyAgeSeconds: 0.05, dirtyLowBytes: 0 },
      mix: { read: 55, write: 43, flush: 2 },
      faults: ['bits rot'],
      requestsPerFault: 100000,
      isHasty: false,
    },
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `relocated === undefined || this.table.find(page) === relocated.location`,
        replace: `true`,
      },
    ],
  },
  // ------------------------------------------------------------------------------------------------------------ write-back
  {
    name: 'write-back: a flush is answered without a commit',
    seed: 9,
    edits: [
      {
        file: 'engine/disk/write-back-path.ts',
        find: `    else await this.#commit()
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'write-back: FUA is no barrier',
    seed: 5007,
    edits: [{ file: 'engine/disk/write-back-path.ts', find: `    else if (fua) await this.#commit()`, replace: `` }],
  },
  {
    name: 'write-back: a commit is answered before the device has synced',
    seed: 8,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `await Promise.all([...byDevice].map(([device, ranges]) => device.commit(ranges)))`,
        replace: `for (const [device, ranges] of byDevice) void device.commit(ranges).catch(() => undefined)`,
      },
    ],
  },
  {
    name: 'destage goes across barriers',
    seed: 5029,
    edits: [
      {
        file: 'engine/log/replay.ts',
        find: `if (first !== undefined && !acrossBarriers && local.stableFrame > first) break`,
        replace: ``,
      },
    ],
  },
  {
    name: 'destage sends an older version of a page after a newer one',
    seed: 1,
    edits: [
      {
        file: 'engine/log/span.ts',
        find: `    known.sectorMap |= sectorMap
`,
        replace: `    if (known.sectorMap === FULL_SECTOR_MAP) return
    known.sectorMap |= sectorMap
`,
      },
    ],
  },
  {
    name: 'a flush after a reconnect is trusted',
    seed: 5033,
    edits: [{ file: 'engine/disk/destage.ts', find: `if (origin.session !== session)`, replace: `if (session < 0)` }],
  },
  {
    name: 'settled before the origin has flushed',
    seed: 1,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `    await origin.flush()
    if (origin`,
        replace: `    if (origin`,
      },
    ],
  },
  {
    name: 'what is settled is not on record before the next span is sent',
    seed: 5004,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `    if (this.#sending.length === 0) await log.recordSettled()
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'frames that are not stable are destaged',
    seed: 21036,
    edits: [
      {
        file: 'engine/log/replay.ts',
        find: `const stableLsn = log.stableLsn`,
        replace: `const stableLsn = log.writtenLsn`,
      },
      {
        file: 'engine/disk/destage.ts',
        find: `    if (this.#replay.position.lsn >= log.stableLsn && log.writtenLsn > log.stableLsn) await log.commit()
`,
        replace: ``,
      },
      {
        file: 'engine/log/log.ts',
        find: `lsn >= this.#settledLsn && lsn <= this.#stableLsn`,
        replace: `lsn >= this.#settledLsn`,
      },
    ],
  },
  {
    name: 'a change overtakes the drain: it is answered before the origin has it',
    seed: 5001,
    edits: [
      {
        file: 'engine/disk/write-back-path.ts',
        find: `if (this.#isDraining) await this.destage.passed(batch.endLsn)
    else if`,
        replace: `if`,
      },
      { file: 'engine/disk/write-back-path.ts', find: `if (this.#isDraining || !space`, replace: `if (!space` },
    ],
  },
  {
    name: 'write-back is left without a drain',
    seed: 4,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `    await this.#drainAll(log, writeBack)
    await writeBack.stop()
    //`,
        replace: `    await writeBack.stop()
    //`,
      },
      {
        file: 'engine/log/log.ts',
        find: `    assert(this.#settledLsn === this.#nextLsn, 'a log changes its mode when all of it is settled')
`,
        replace: `    this.#settledLsn = this.#nextLsn
`,
      },
    ],
  },
  {
    name: 'zeroes are sent after the data of their span',
    seed: 5004,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `    for (const { page, count, trim } of span.zeroes) {`,
        replace: `    const late = async (): Promise<void> => { for (const { page, count, trim } of span.zeroes) {`,
      },
      {
        file: 'engine/disk/destage.ts',
        find: `      await this.#zero(start, end - start, trim)
    }`,
        replace: `      await this.#zero(start, end - start, trim)
    } }`,
      },
      {
        file: 'engine/disk/destage.ts',
        find: `    await Promise.all(inFlight)
`,
        replace: `    await Promise.all(inFlight)
    await late()
`,
      },
    ],
  },
  {
    name: 'reads ask the origin for what was zeroed',
    seed: 3,
    edits: [
      {
        file: 'engine/disk/reads.ts',
        find: `const zeroes = this.#zeroPages(log, firstPage, lastPage)`,
        replace: `const zeroes = this.#zeroPages(undefined, firstPage, lastPage)`,
      },
    ],
  },
  {
    name: 'zero ranges are dropped before the origin has them',
    seed: 5001,
    edits: [{ file: 'engine/log/zero-ranges.ts', find: `&& this.#ranges[settled]!.lsn <= lsn`, replace: `&& lsn > 0` }],
  },
  {
    name: 'zero ranges are forgotten by a recovery',
    seed: 6040,
    edits: [
      {
        file: 'engine/log/open-log.ts',
        find: `if (isZero && log.isWriteBack && chunk.nextLsn > log.settledLsn)`,
        replace: `if (isZero && chunk.nextLsn === 0)`,
      },
    ],
  },
  {
    name: 'a chunk above settledLsn is reclaimed',
    seed: 5001,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: ` || oldest.nextLsn > this.#settledLsn) return false`,
        replace: `) return false`,
      },
    ],
  },
  {
    name: 'a fill is installed while a span is on its way to the origin',
    seed: 175,
    habits: {
      mode: 'write-back',
      isSteady: true,
      isNarrow: true,
      blockPages: 16,
      tasksPerSlowOne: 3,
      writeBack: {
        order: 'ordered',
        barrier: 'flush',
        dirtyAgeSeconds: 0.05,
        dirtyLowBytes: 0,
        dirtyHighBytes: 131072,
      },
      mix: { read: 45, write: 30, flush: 5, zero: 20 },
      faults: ['bits rot'],
      requestsPerFault: 100000,
      isHasty: false,
    },
    edits: [
      {
        file: 'engine/disk/reads.ts',
        find: ` ||
      isSending(first, last)`,
        replace: ` ||
      (isSending(first, last) && first < 0)`,
      },
    ],
  },
  {
    name: 'a fill is not cancelled by the span that is sent',
    seed: 166,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `      fills.cancel(first, last)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a fill is installed over what is dirty or was zeroed',
    seed: 4,
    edits: [
      {
        file: 'engine/disk/reads.ts',
        find: `      !stored.isDirty(page) &&
      !log.zeroRanges.has(page) &&
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'part of a page is joined without what is on its way into the log',
    seed: 5006,
    edits: [
      {
        file: 'engine/disk/write-back-path.ts',
        find: `      while (log.isChanging(first, last)) await log.appended()
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a miss does not look into the log before it asks the origin',
    seed: 18,
    edits: [
      {
        file: 'engine/disk/reads.ts',
        find: `    if (!this.#hasAny(firstPage, lastPage))
`,
        replace: `    if (firstPage >= 0)
`,
      },
    ],
  },
  {
    name: 'a dirty page that is damaged is read from the origin',
    seed: 34,
    edits: [
      {
        file: 'engine/disk/stored-pages.ts',
        find: `    if (wasDirty) {
      throw`,
        replace: `    if (wasDirty && page < 0) {
      throw`,
      },
    ],
  },
  {
    name: 'a damaged page counts as what it should be when it is destaged',
    seed: 59,
    edits: [
      {
        file: 'engine/log/replay.ts',
        find: `if (checksumOf(window, dataAt, dataAt + length) === frame.pageChecksums[index]) {`,
        replace: `if (length > 0) {`,
      },
    ],
  },
  {
    name: 'a page that was lost is read from the origin',
    seed: 179,
    edits: [
      {
        file: 'engine/disk/reads.ts',
        find: `    this.#refuseBad(log, firstPage, lastPage, offset, length)
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'pages that were lost are forgotten by a recovery',
    seed: 184,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `    bad: marked.bad,`,
        replace: `    bad: [],`,
      },
    ],
  },
  {
    name: 'a relocated page gets a new checksum, unread',
    seed: 13,
    edits: [
      { file: 'engine/log/log.ts', find: `extent.relocated?.checksum ?? checksumOf`, replace: `checksumOf` },
      {
        file: 'engine/log/stored-chunk.ts',
        find: `if (checksumOf(data) === checksum) return data`,
        replace: `if (checksum !== -1) return data`,
      },
    ],
  },
  {
    name: 'a page that the origin refuses is dropped',
    seed: 5036,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `    const aside = await log.setAside(page,`,
        replace: `    if (page >= 0) return true
    const aside = await log.setAside(page,`,
      },
    ],
  },
  {
    name: 'a page that the origin refuses holds the rest',
    seed: 4,
    edits: [
      {
        file: 'engine/disk/destage.ts',
        find: `if (pages.size > 0 && !(await flushes(origin))) throw refused`,
        replace: `if (pages.size > 0) throw refused`,
      },
    ],
  },
  {
    name: 'a disk in write-back begins without a reserve',
    seed: 5026,
    edits: [
      {
        file: 'engine/log/open-log.ts',
        find: `  log.keepReserve()
`,
        replace: ``,
      },
      {
        file: 'engine/log/log.ts',
        find: `return this.#fillReserve() ? this.#takeAny() : undefined`,
        replace: `return this.#takeAny()`,
      },
    ],
  },
  {
    name: 'a device that fails under dirty data: the origin alone is served',
    seed: 16,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `    if (lostBytes > 0 || lostPages > 0) {
`,
        replace: `    if (lostBytes < 0) {
`,
      },
    ],
  },
  {
    name: 'a log whose device failed is believed again: the epoch is not raised',
    seed: 5001,
    edits: [
      {
        file: 'engine/disk/disk.ts',
        find: `this.#leavingLog = this.#options.raiseEpoch().then(`,
        replace: `this.#leavingLog = Promise.resolve().then(`,
      },
    ],
  },
  {
    name: 'what is dirty is said to be a hole',
    seed: 375,
    edits: [
      { file: 'engine/disk/allocation.ts', find: `if (isCached) add(`, replace: `if (isCached && page < 0) add(` },
    ],
  },
  {
    name: 'a full log waits for its own end: what is settled does not fit in any more',
    seed: 4,
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `    if (this.#wantsReserve) await this.#appendToReserve(append)
    // Meanwhile more may have come, which nobody would hear of.
    if (this.#wantsReserve) return
`,
        replace: ``,
      },
    ],
  },
  {
    name: 'a full log needs one more chunk each time that it is opened',
    seed: 69,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `chunks.length > 1 && isRepeated(`,
        replace: `chunks.length < 1 && isRepeated(`,
      },
    ],
  },
  {
    name: 'a session that has not begun counts',
    seed: 55,
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `return walk.sessionBegun ? undefined : first`,
        replace: `return undefined`,
      },
    ],
  },
  {
    name: 'a write is answered from a log that has failed',
    seed: 16,
    habits: {
      mode: 'write-back',
      isSteady: true,
      isTimeless: false,
      isTight: false,
      maximumChunks: 64,
      pauses: [60],
      writeBack: {
        order: 'ordered',
        barrier: 'flush',
        dirtyAgeSeconds: 0.05,
        dirtyLowBytes: 0,
        dirtyHighBytes: 8388608,
      },
      mix: { read: 60, write: 40 },
      faults: [
        'origin hangs',
        'origin hangs',
        'bits rot',
        'bits rot',
        'bits rot',
        'device fails',
        'device fails',
        'device fails',
      ],
      requestsPerFault: 6,
      isHasty: false,
      ending: 'kill',
    },
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `      this.#refuseFailed()
      this.#publish(target)
`,
        replace: `      this.#publish(target)
`,
      },
    ],
  },
  {
    name: 'the last page of a disk that ends within it stays lost',
    seed: 331,
    habits: {
      mode: 'write-back',
      isSteady: true,
      isTimeless: false,
      isTight: false,
      maximumChunks: 64,
      pauses: [10],
      tasksPerSlowOne: 0,
      writeBack: { dirtyAgeSeconds: 20, dirtyLowBytes: 4194304, dirtyHighBytes: 8388608 },
      mix: { read: 38, write: 56, hold: 6 },
      faults: ['bits rot', 'bits rot', 'bits rot', 'bits rot', 'device fails'],
      requestsPerFault: 5,
      isHasty: false,
    },
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `sectorsOnDisk(page, diskBytes, phase)`,
        replace: `0xff`,
      },
      { file: 'engine/log/log.ts', find: `sectorsOnDisk(page, diskBytes, phase)`, replace: `0xff` },
    ],
  },
]

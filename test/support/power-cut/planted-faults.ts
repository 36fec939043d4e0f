import type { PlantedFault } from '../simulation/variant.js'

/** Faults that show in the order of what reaches devices and origins; most are below what the simulation runs. */
export const POWER_CUT_FAULTS: readonly Pick<PlantedFault, 'name' | 'edits'>[] = [
  {
    name: 'a commit of a file device syncs nothing',
    edits: [
      {
        file: 'engine/device/file-device.ts',
        find: `done: rewriteDurably(file, offset, length)`,
        replace: `done: Promise.resolve()`,
      },
    ],
  },
  {
    name: 'a commit sends its ranges to the device and does not flush it',
    edits: [
      {
        file: 'base/system/file-calls.ts',
        find: `offset + done, RWF_DSYNC), 'pwritev2'`,
        replace: `offset + done, 0), 'pwritev2'`,
      },
    ],
  },
  {
    name: 'a commit covers only the end of its last range',
    edits: [
      {
        file: 'engine/device/file-device.ts',
        find: `      await Promise.all(merged.map((range) => syncFileRange(file, range.offset, range.length)))\n`,
        replace: ``,
      },
    ],
  },
  {
    name: 'the flush of a file origin does nothing',
    edits: [{ file: 'engine/origin/descriptor-origin.ts', find: `      await fdatasync(file.fd)\n`, replace: `` }],
  },
  {
    name: 'a commit is answered by one that was under way already',
    edits: [
      {
        file: 'engine/log/log.ts',
        find: `    this.#nextCommit ??= this.#committing\n`,
        replace: `    if (this.#nextCommit === undefined) return this.#committing\n    this.#nextCommit ??= this.#committing\n`,
      },
    ],
  },
  {
    name: 'write-back answers a flush without a commit',
    edits: [{ file: 'engine/disk/write-back-path.ts', find: `    else await this.#commit()\n`, replace: `` }],
  },
  {
    name: 'destage does not flush the origin before its log forgets what was dirty',
    edits: [{ file: 'engine/disk/destage.ts', find: `    await origin.flush()\n    if`, replace: `    if` }],
  },
  {
    name: 'the mark of a touched region is not synced before the origin is written',
    edits: [
      {
        file: 'engine/disk/touch-marks.ts',
        find: `      .then(() => log.commit())\n`,
        replace: ``,
      },
    ],
  },
  {
    name: 'the boot id is not looked at: every end is taken for a kill',
    edits: [
      {
        file: 'engine/log/recovery.ts',
        find: `newest.found.header.bootId === context.bootId ?`,
        replace: `newest.found.header.bootId !== '' ?`,
      },
    ],
  },
]

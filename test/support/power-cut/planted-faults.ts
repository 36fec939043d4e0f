import type { PlantedFault } from '../simulation/variant.js'

/** Faults below what the simulation runs: the ways to files and devices, which only the real engine takes. */
export const DEVICE_FAULTS: readonly Pick<PlantedFault, 'name' | 'edits'>[] = [
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
    name: 'a flush is answered by one that was under way already',
    edits: [
      {
        file: 'base/coalesce.ts',
        find: `    if (next !== undefined) return next\n`,
        replace: `    if (current !== undefined) return current\n`,
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

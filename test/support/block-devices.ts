import { whyNoMounts } from './conditions.js'
import { findProgram } from './programs.js'
import { must, run } from './processes.js'

/** Why there are no loop devices here, or null where there are. */
export async function whyNoLoopDevices(): Promise<string | null> {
  const losetup = findProgram('losetup')
  if (losetup === null) return 'losetup is not installed'
  const whyNoMount = whyNoMounts()
  if (whyNoMount !== null) return whyNoMount
  const { code } = await run(losetup, ['--find'])
  return code === 0 ? null : 'the kernel has no free loop device'
}

export interface LoopDevice {
  readonly path: string
  detach(): Promise<void>
}

/** Makes a block device of a file. */
export async function attachLoopDevice(
  file: string,
  options: { logicalBlockBytes?: 512 | 4096 } = {},
): Promise<LoopDevice> {
  const losetup = findProgram('losetup')!
  const args = ['--find', '--show', '--sector-size', String(options.logicalBlockBytes ?? 512), file]
  const path = (await must(losetup, args)).trim()
  return { path, detach: async () => void (await must(losetup, ['--detach', path])) }
}

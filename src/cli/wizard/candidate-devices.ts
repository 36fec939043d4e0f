/** A block device that looks free. Only the engine decides: it reads the device before it writes to it. */
export interface CandidateDevice {
  readonly path: string
  readonly sizeBytes: number
  /** Model and kind, for people. */
  readonly description: string
}

interface BlockDevice {
  readonly path: string
  readonly size: number
  readonly type: string
  readonly fstype: string | null
  readonly mountpoints: readonly (string | null)[]
  readonly model: string | null
  readonly rota: boolean
  readonly ro: boolean
  readonly children?: readonly BlockDevice[]
}

const KINDS = ['disk', 'part', 'lvm', 'raid0', 'raid1', 'mpath']

/** The block devices of this machine that hold nothing that is known; none where lsblk is missing. */
export async function candidateDevices(): Promise<CandidateDevice[]> {
  const columns = 'PATH,SIZE,TYPE,FSTYPE,MOUNTPOINTS,MODEL,ROTA,RO'
  try {
    const { execa } = await import('execa')
    const { stdout } = await execa('lsblk', ['--json', '--bytes', '--output', columns])
    return freeDevices(stdout)
  } catch {
    return []
  }
}

/** Those of `lsblk --json` that are not mounted, hold no file system and no other device; solid state first. */
export function freeDevices(lsblk: string): CandidateDevice[] {
  const { blockdevices } = JSON.parse(lsblk) as { blockdevices: readonly BlockDevice[] }
  return blockdevices
    .flatMap(withChildren)
    .filter(isFree)
    .sort((a, b) => Number(a.rota) - Number(b.rota))
    .map(({ path, size, model, rota, type }) => ({
      path,
      sizeBytes: size,
      description: [model?.trim(), rota ? 'rotating' : 'solid state', type].filter(Boolean).join(', '),
    }))
}

function withChildren(device: BlockDevice): readonly BlockDevice[] {
  return [device, ...(device.children ?? []).flatMap(withChildren)]
}

function isFree(device: BlockDevice): boolean {
  const isUsed = device.fstype !== null || device.mountpoints.some((point) => point !== null)
  return KINDS.includes(device.type) && !device.ro && device.size > 0 && !isUsed && (device.children ?? []).length === 0
}

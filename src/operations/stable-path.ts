import { readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'

const KERNEL_NAME = /^\/dev\/[^/]+$/

/**
 * The path of a block device that stays the same over boots (`/dev/disk/by-id/nvme-...` for `/dev/nvme0n1`), as the names
 * that the kernel gives may change; any other path as it is.
 */
export async function stablePath(path: string, byId = '/dev/disk/by-id'): Promise<string> {
  if (!KERNEL_NAME.test(path)) return path
  const names = await readdir(byId).catch(() => [])
  const links = await Promise.all(
    names.map(async (name) => ({ name, target: await realpath(join(byId, name)).catch(() => null) })),
  )
  const fitting = links.filter(({ target }) => target === path).map(({ name }) => name)
  // World-wide names say nothing to people; of the others the shortest carries model and serial number only.
  const [best] = fitting.sort((a, b) => rank(a) - rank(b) || a.length - b.length || (a < b ? -1 : 1))
  return best === undefined ? path : join(byId, best)
}

function rank(name: string): number {
  return /^(wwn|nvme-(eui|uuid|nvme)|dm-uuid|lvm-pv-uuid)/.test(name) ? 1 : 0
}

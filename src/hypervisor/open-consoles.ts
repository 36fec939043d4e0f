import type { VmMonitor } from './driver.js'

/** Kinds of consoles of a VM that somebody has open. A QEMU that was built without one has none of it. */
export async function openConsoles({ execute }: VmMonitor): Promise<string[]> {
  const [vnc, spice] = (await Promise.all([
    execute('query-vnc-servers').catch(() => []),
    execute('query-spice').catch(() => ({})),
  ])) as [{ clients: unknown[] }[], { channels?: unknown[] }]
  return [
    ...(vnc.some(({ clients }) => clients.length > 0) ? ['VNC'] : []),
    ...((spice.channels ?? []).length > 0 ? ['SPICE'] : []),
  ]
}

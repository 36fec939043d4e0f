import { createConnection } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { VmcacheError } from '../base/errors.js'
import type { MemoryWatch, VmMonitor } from './driver.js'

/**
 * The memory of a stopped VM as one stream over a unix socket: one pass, as nothing changes meanwhile, so that its length is bounded
 * (docs/devel/migration.rst of QEMU says what is in it).
 */

/** What QEMU is: a stream is loaded by none that is another. */
export interface QemuIdentity {
  /** `7.2.22` */
  readonly version: string
  /** `pc-q35-7.2` */
  readonly machine: string
}

const LOOK_MILLISECONDS = 20
/** How long the stream may stand still: whoever is at its other end hangs. */
const STALL_MILLISECONDS = 60_000

interface Migration {
  status?: 'setup' | 'active' | 'device' | 'completed' | 'failed' | 'cancelling' | 'cancelled'
  ram?: { transferred: number; total: number }
  'error-desc'?: string
  'blocked-reasons'?: string[]
}

/** What QEMU adds to the memory of a VM, at most: pages have headers, devices have state, video cards have memory of their own. */
export function longestStream(memoryBytes: number): number {
  return memoryBytes + Math.ceil(memoryBytes / 512) + 32 * 2 ** 20
}

export async function qemuIdentity({ execute }: VmMonitor): Promise<QemuIdentity> {
  const [{ qemu }, type] = (await Promise.all([
    execute('query-version'),
    execute('qom-get', { path: '/machine', property: 'type' }),
  ])) as [{ qemu: { major: number; minor: number; micro: number } }, string]
  return { version: `${qemu.major}.${qemu.minor}.${qemu.micro}`, machine: type.replace(/-machine$/, '') }
}

/** Why the memory of a VM cannot be saved: a device of the host, a shared directory ... ; null where it can. */
export async function whyNotSaved(monitor: VmMonitor): Promise<string | null> {
  return (await migrationOf(monitor))['blocked-reasons']?.join('; ') ?? null
}

/** Whether all of its memory was sent away, and nothing of the guest has run since. */
export async function isSaved({ execute }: VmMonitor): Promise<boolean> {
  return ((await execute('query-status')) as { status: string }).status === 'postmigrate'
}

/**
 * Sends the memory of a stopped VM to whoever listens at `socket`, and ends when QEMU has sent all of it. HYPERVISOR where that fails,
 * INTERRUPTED where `signal` was raised; the VM can go on in any case.
 */
export async function saveMemory(
  monitor: Pick<VmMonitor, 'execute'>,
  socket: string,
  watch: MemoryWatch,
): Promise<void> {
  // 0: as fast as it goes. QEMU's default is made for networks.
  await monitor.execute('migrate-set-parameters', { 'max-bandwidth': 0 })
  await monitor.execute('migrate', { uri: `unix:${socket}` })
  await completed(monitor, watch, async () => {
    await monitor.execute('migrate_cancel')
  })
}

/**
 * Gives a VM that awaits it the memory that a server at `socket` sends; QEMU itself takes a connection, at `incoming`. HYPERVISOR,
 * INTERRUPTED: QEMU has ended then, or must be.
 */
export async function loadMemory(
  monitor: Pick<VmMonitor, 'execute'>,
  { socket, incoming }: { readonly socket: string; readonly incoming: string },
  watch: MemoryWatch,
): Promise<void> {
  await monitor.execute('migrate-incoming', { uri: `unix:${incoming}` })
  const connections = [createConnection(socket), createConnection(incoming)] as const
  // Whatever goes wrong with them, also after the last byte, QEMU sees: its stream ends too soon.
  for (const connection of connections) connection.on('error', () => {})
  pipeline(...connections).catch(() => {})
  try {
    await completed(monitor, watch, async () => {
      throw new VmcacheError('INTERRUPTED', 'cancelled while the memory of the VM was loaded')
    })
  } finally {
    for (const connection of connections) connection.destroy()
  }
}

async function completed(
  monitor: Pick<VmMonitor, 'execute'>,
  { clock, signal, progress }: MemoryWatch,
  cancel: () => Promise<void>,
): Promise<void> {
  let failure: VmcacheError | null = null
  let lastBytes = 0
  let movedAt = clock.monotonic()
  for (;;) {
    const { status, ram, 'error-desc': words } = await migrationOf(monitor)
    if (status === 'completed') return
    if (status === 'failed' || status === 'cancelled') {
      throw failure ?? new VmcacheError('HYPERVISOR', `QEMU cannot move the memory of the VM: ${words ?? status}`)
    }
    if (ram !== undefined && ram.transferred !== lastBytes) {
      lastBytes = ram.transferred
      movedAt = clock.monotonic()
      progress(ram.transferred, ram.total)
    }
    if (failure === null) {
      failure = reasonToEnd(signal, clock.monotonic() - movedAt)
      if (failure !== null) await cancel()
    }
    await new Promise<void>((resolve) => clock.after(LOOK_MILLISECONDS, resolve))
  }
}

/** Why a stream is given up that has stood still for so long; null where it is not. */
export function reasonToEnd({ aborted }: AbortSignal, stillMilliseconds: number): VmcacheError | null {
  if (aborted) return new VmcacheError('INTERRUPTED', 'cancelled while the memory of the VM was moved')
  if (stillMilliseconds < STALL_MILLISECONDS) return null
  return new VmcacheError('HYPERVISOR', `the memory of the VM stands still for ${STALL_MILLISECONDS / 1000} s`)
}

async function migrationOf({ execute }: Pick<VmMonitor, 'execute'>): Promise<Migration> {
  return (await execute('query-migrate')) as Migration
}

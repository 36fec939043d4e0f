import { formatSize } from '../../base/units.js'
import type { CacheDocument, DeviceDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { count, state } from './text.js'

/** Devices of one cache, or of several where they say which. */
export function deviceTable(
  devices: readonly (DeviceDocument & { readonly cache?: string })[],
  screen: Screen,
): Promise<string> {
  const { paint } = screen
  const columns: Column<DeviceDocument & { readonly cache?: string }>[] = [
    { head: 'DEVICE', value: ({ path }) => path, cutTo: 24, cutFrom: 'start' },
    { head: 'STATE', value: (device) => state(device.state, paint) },
    { head: 'SIZE', value: ({ sizeBytes }) => formatSize(sizeBytes) },
    { head: 'CHUNKS', value: ({ chunks }) => String(chunks), spare: 1 },
    { head: 'ERRORS', value: ({ errors }) => (errors === 0 ? '0' : paint.bad(String(errors))) },
    { head: 'ID', value: ({ id }) => id, spare: 2 },
  ]
  if (devices.some(({ cache }) => cache !== undefined)) {
    columns.unshift({ head: 'CACHE', value: ({ cache }) => cache ?? '' })
  }
  return renderTable(columns, devices, screen)
}

/** How many devices a cache has now, and how large it is. */
export function devicesText({ name, devices, sizeBytes }: CacheDocument): string {
  return `cache ${name} has ${count(devices.length, 'device')}, ${formatSize(sizeBytes)}`
}

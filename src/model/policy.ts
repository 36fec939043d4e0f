import { formatDuration, formatSize } from '../base/units.js'
import { DEFAULT_MODE, type Mode } from './mode.js'
import type { VmPolicy } from './vm-policy.js'
import { DEFAULT_WRITE_BACK, type DestageBarrier, type DestageOrder, type WriteBackSettings } from './write-back.js'

/** Where settings are set, nearest first: what a disk does not have set its VM may have, then its cache, then its host. */
export const LEVELS = ['disk', 'vm', 'cache', 'host'] as const
export type Level = (typeof LEVELS)[number]

/** How a disk is cached. */
export interface DiskPolicy {
  readonly mode: Mode
  readonly replacement: string
  readonly minBytes: number
  /** Null: the whole cache. */
  readonly maxBytes: number | null
  readonly shares: number
  readonly writeBack: WriteBackSettings
}

/** The same, each setting for itself, as levels have it. */
export interface DiskSettings extends Omit<DiskPolicy, 'writeBack'> {
  readonly destageOrder: DestageOrder
  readonly destageBarrier: DestageBarrier
  readonly dirtyLowBytes: number | null
  readonly dirtyHighBytes: number | null
  readonly dirtyAgeSeconds: number
}

export type Settings = DiskSettings & VmPolicy
export type SettingKey = keyof Settings
export type SettingValue = Settings[SettingKey]

/** What is set at one level; what is absent is inherited. */
export type Policy = Partial<Settings>

/** What its disks and VMs have where no level says anything. */
export const DEFAULT_DISK_SETTINGS: DiskSettings = {
  mode: DEFAULT_MODE,
  replacement: 's3-fifo',
  minBytes: 0,
  maxBytes: null,
  shares: 100,
  destageOrder: DEFAULT_WRITE_BACK.order,
  destageBarrier: DEFAULT_WRITE_BACK.barrier,
  dirtyLowBytes: DEFAULT_WRITE_BACK.dirtyLowBytes,
  dirtyHighBytes: DEFAULT_WRITE_BACK.dirtyHighBytes,
  dirtyAgeSeconds: DEFAULT_WRITE_BACK.dirtyAgeSeconds,
}

/** The keys of all settings, with what the command line calls them. */
export const DISK_SETTINGS: Readonly<Record<keyof DiskSettings, string>> = {
  mode: 'mode',
  replacement: 'replacement',
  minBytes: 'min',
  maxBytes: 'max',
  shares: 'shares',
  destageOrder: 'destage',
  destageBarrier: 'destage-barrier',
  dirtyLowBytes: 'dirty-low',
  dirtyHighBytes: 'dirty-high',
  dirtyAgeSeconds: 'dirty-age',
}
export const VM_SETTINGS: Readonly<Record<keyof VmPolicy, string>> = {
  rapidSuspend: 'rapid-suspend',
  idleTimeoutSeconds: 'idle-timeout',
  suspendAt: 'suspend-at',
  resumeAt: 'resume-at',
  storageAfterSeconds: 'storage-after',
  timeZone: 'time-zone',
}
const SETTINGS: Readonly<Record<SettingKey, string>> = { ...DISK_SETTINGS, ...VM_SETTINGS }

export const DISK_SETTING_KEYS = Object.keys(DISK_SETTINGS) as (keyof DiskSettings)[]
export const VM_SETTING_KEYS = Object.keys(VM_SETTINGS) as (keyof VmPolicy)[]

/** What can be set at a level: of VMs on them and on their host, of disks everywhere. */
export function settingKeysOf(level: Level): SettingKey[] {
  return level === 'vm' || level === 'host' ? [...DISK_SETTING_KEYS, ...VM_SETTING_KEYS] : DISK_SETTING_KEYS
}

/** What the command line calls a setting. */
export function settingName(key: SettingKey): string {
  return SETTINGS[key]
}

/** The value of a setting for people. */
export function settingText(key: SettingKey, value: SettingValue): string {
  if (value === null) return WITHOUT_VALUE[key] ?? 'off'
  if (typeof value === 'string') return value
  if (key.endsWith('Bytes')) return formatSize(value)
  return key.endsWith('Seconds') ? formatDuration(value) : String(value)
}

const WITHOUT_VALUE: Partial<Record<SettingKey, string>> = {
  maxBytes: 'the whole cache',
  dirtyLowBytes: 'default',
  dirtyHighBytes: 'default',
  timeZone: 'that of the engine',
}

/** The settings of a policy, each for itself. */
export function diskSettings({ writeBack, ...settings }: DiskPolicy): DiskSettings {
  const { order, barrier, ...limits } = writeBack
  const { mode, replacement, minBytes, maxBytes, shares } = settings
  return { mode, replacement, minBytes, maxBytes, shares, destageOrder: order, destageBarrier: barrier, ...limits }
}

/** The other way round. */
export function diskPolicy(settings: DiskSettings): DiskPolicy {
  const { destageOrder: order, destageBarrier: barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds } = settings
  const { mode, replacement, minBytes, maxBytes, shares } = settings
  const writeBack = { order, barrier, dirtyLowBytes, dirtyHighBytes, dirtyAgeSeconds }
  return { mode, replacement, minBytes, maxBytes, shares, writeBack }
}

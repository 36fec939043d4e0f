import type { ResolvedConfiguration } from '../../model/configuration.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { NONE } from './text.js'

export interface ConfigurationValue {
  key: string
  value: unknown
  source: string
}

export function valuesOf({ values, sources }: ResolvedConfiguration): ConfigurationValue[] {
  const sourceOf: Readonly<Record<string, string>> = sources
  return Object.entries(values).map(([key, value]) => ({ key, value, source: sourceOf[key] ?? 'default' }))
}

/** A value as it is written in the file. */
export function configurationText(value: unknown): string {
  if (value === null) return NONE
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** `vmcache config show`. */
export function configurationTable(values: readonly ConfigurationValue[], screen: Screen): Promise<string> {
  const columns: Column<ConfigurationValue>[] = [
    { head: 'KEY', value: ({ key }) => key },
    { head: 'VALUE', value: ({ value }) => configurationText(value), cutTo: 24 },
    { head: 'SOURCE', value: ({ source }) => source, cutTo: 24 },
  ]
  return renderTable(columns, values, screen)
}

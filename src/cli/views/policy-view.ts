import { settingName, settingText, type SettingKey, type SettingValue } from '../../model/policy.js'
import type { PolicyDocument, SetPolicyDocument, SettingDocument } from '../../protocol/control/documents.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { NONE } from './text.js'

/** `vmcache policy show`. */
export function policyTable({ settings }: Pick<PolicyDocument, 'settings'>, screen: Screen): Promise<string> {
  const { paint } = screen
  const inForce = ({ setting, wanted, inForce: now }: SettingDocument): string => {
    if (now === null) return NONE
    const text = settingText(setting, now.value)
    return now.value === wanted ? text : paint.warning(text)
  }
  const columns: Column<SettingDocument>[] = [
    { head: 'SETTING', value: ({ setting }) => settingName(setting) },
    { head: 'WANTED', value: ({ setting, wanted }) => settingText(setting, wanted) },
    { head: 'SET AT', value: ({ source }) => (source === 'default' ? paint.faint(source) : source) },
    { head: 'IN FORCE', value: inForce },
    ...(settings.some(({ inForce: now }) => typeof now?.reason === 'string') ? [WHY] : []),
  ]
  return renderTable(columns, settings, screen)
}

const WHY: Column<SettingDocument> = { head: 'WHY', value: ({ inForce }) => inForce?.reason ?? NONE, cutTo: 20 }

/** `vmcache policy list`. */
export function policiesTable(policies: readonly SetPolicyDocument[], screen: Screen): Promise<string> {
  const rows = policies.flatMap(({ level, name, settings }) =>
    (Object.entries(settings) as [SettingKey, SettingValue][]).map(([key, value]) => ({ level, name, key, value })),
  )
  const columns: Column<(typeof rows)[number]>[] = [
    { head: 'LEVEL', value: ({ level }) => level },
    { head: 'NAME', value: ({ name }) => name },
    { head: 'SETTING', value: ({ key }) => settingName(key) },
    { head: 'VALUE', value: ({ key, value }) => settingText(key, value), cutTo: 20 },
  ]
  return renderTable(columns, rows, screen)
}

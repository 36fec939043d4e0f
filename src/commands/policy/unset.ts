import { VmcacheError } from '../../base/errors.js'
import { ChangeCommand } from '../../cli/base-command.js'
import { requiredTargetsArgument } from '../../cli/flags.js'
import { policyTargetFlags, requiredPolicyTarget, SET_OPERATIONS } from '../../cli/policy-target.js'
import { settingKeysOf, settingName, type Level, type SettingKey } from '../../model/policy.js'
import type { ChangeResult, JobDocument } from '../../protocol/control/documents.js'

export default class PolicyUnset extends ChangeCommand {
  static override summary = 'Have a disk, a VM, a cache or the host inherit settings again.'
  static override description =
    'A SETTING is called as its flag of vmcache policy set, such as mode or dirty-high. What is not set there is none, and changes nothing.'
  static override examples = [
    '<%= config.bin %> policy unset --disk db01/vda mode',
    '<%= config.bin %> policy unset --cache fast min max',
  ]
  static override args = { setting: requiredTargetsArgument('What is inherited again: mode, min, max, shares ...') }
  static override flags = policyTargetFlags

  async run(): Promise<ChangeResult | JobDocument> {
    const parsed = await this.parse(PolicyUnset)
    const { level, name } = requiredPolicyTarget('policy unset', parsed)
    const unset = parsed.args.setting.map((setting) => keyOf(level, setting))
    const request = { name, unset, dryRun: this.options.dryRun }
    return this.change(
      SET_OPERATIONS[level],
      request,
      ({ changed }) => `${name} ${changed ? 'is changed' : 'unchanged'}`,
    )
  }
}

function keyOf(level: Level, name: string): SettingKey {
  const keys = settingKeysOf(level)
  const key = keys.find((known) => settingName(known) === name)
  if (key !== undefined) return key
  throw new VmcacheError('USAGE', `${JSON.stringify(name)} is no setting of a ${level}`, {
    hint: `settings are ${keys.map(settingName).join(', ')}`,
    details: { seen: name },
  })
}

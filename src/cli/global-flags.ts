/**
 * cli/: what the commands share: flags, the base command, waiting for jobs, tables and prompts, the rendering of errors.
 *
 * A *result* is the JSON document of a command and goes to standard output, as JSON or as text for people; *talk* (what was
 * done, what is waited for, questions) goes to standard error. Heavy packages are imported where they are used, because
 * start-up is felt on every call.
 */
import { string } from '@oclif/core/flags'
import { durationFlag, switchFlag } from './flags.js'

const helpGroup = 'GLOBAL'

/** Flags of every command. */
export const globalFlags = {
  json: switchFlag({ summary: 'Print one JSON document on standard output.', helpGroup }),
  quiet: switchFlag({ summary: 'Say nothing but results and errors.', helpGroup }),
  'no-color': switchFlag({ summary: 'Print no colours (also: NO_COLOR).', helpGroup }),
  timeout: durationFlag({
    summary: 'Wait no longer than this (30s, 10m, 1h); what was begun goes on.',
    helpValue: 'DURATION',
    helpGroup,
  }),
  host: string({
    summary: 'The host that the command is about; this one where not given.',
    helpValue: 'NAME',
    env: 'VMCACHE_HOST',
    helpGroup,
  }),
  user: switchFlag({
    summary: 'Use a private engine of this user, for trying things out.',
    env: 'VMCACHE_USER',
    helpGroup,
  }),
  'state-dir': string({
    summary: 'Directory of the state (/var/lib/vmcache).',
    helpValue: 'DIR',
    env: 'VMCACHE_STATE_DIR',
    helpGroup,
  }),
  'run-dir': string({
    summary: 'Directory of the sockets (/run/vmcache).',
    helpValue: 'DIR',
    env: 'VMCACHE_RUN_DIR',
    helpGroup,
  }),
  config: string({
    summary: 'Configuration file (/etc/vmcache/config.yaml, if there).',
    helpValue: 'FILE',
    env: 'VMCACHE_CONFIG',
    helpGroup,
  }),
} as const

const changeGroup = 'CHANGE'

/** Flags of every command that changes something. Others take them too, where they have no effect and are not shown. */
export const changeFlags = {
  'dry-run': switchFlag({ summary: 'Say what would be done, and do nothing.', helpGroup: changeGroup }),
  yes: switchFlag({ summary: 'Answer yes to questions that lose no data.', helpGroup: changeGroup }),
  'no-wait': switchFlag({ summary: 'Print the job and do not wait for its end.', helpGroup: changeGroup }),
} as const

/** {@link changeFlags} for the commands that only read: accepted, so that a script can give them to every command. */
export const hiddenChangeFlags: typeof changeFlags = {
  'dry-run': { ...changeFlags['dry-run'], hidden: true },
  yes: { ...changeFlags.yes, hidden: true },
  'no-wait': { ...changeFlags['no-wait'], hidden: true },
}

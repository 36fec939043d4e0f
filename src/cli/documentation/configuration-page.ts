import { configurationText } from '../views/configuration-view.js'
import { CONFIGURATION_KEYS, resolveConfiguration } from '../../model/configuration.js'
import { bold, definition, page, paragraph, section, text, title, verbatim } from './roff.js'

/** A host of which the defaults are shown; those that depend on the host are described. */
const SOME_HOST = { hostName: 'HOST', processors: 0, user: false, homeDirectory: '~', environment: {} }
const DESCRIBED_DEFAULTS: Readonly<Record<string, string>> = {
  'host-name': "the machine's host name",
  'io-threads': 'the number of processors, at most 8',
  'disk-group': 'the first of libvirt-qemu, qemu, kvm that there is',
  'stop-timeout': '60s',
}

/** vmcache-config(5): the keys of the configuration file. */
export function configurationPage(): string {
  const defaults: Readonly<Record<string, unknown>> = resolveConfiguration(new Map(), SOME_HOST).values
  return page([
    title('vmcache-config', 5),
    section('NAME'),
    'vmcache\\-config \\- configuration file of the vmcache engine',
    section('DESCRIPTION'),
    text(
      'The file holds what an engine needs before it has its state database. A new host needs none. It is a flat YAML map; ' +
        'an unknown key is an error. Everything else is policy, is kept in the state database, and is changed by commands.',
    ),
    paragraph(
      text(
        'The machine reads /etc/vmcache/config.yaml, a private engine (--user) ~/.config/vmcache/config.yaml; --config names ' +
          'another. A flag goes before the environment, the environment before the file, the file before the default. ' +
          '"vmcache config show" says where each value comes from, "vmcache config check FILE" finds mistakes.',
      ),
    ),
    section('KEYS'),
    ...Object.entries(CONFIGURATION_KEYS).map(([key, { summary, expected, environment, flag }]) => {
      const sources = [
        ...(flag === undefined ? [] : [`--${flag}`]),
        ...(environment === undefined ? [] : [environment]),
      ]
      const initial = DESCRIBED_DEFAULTS[key] ?? (defaults[key] === null ? 'none' : configurationText(defaults[key]))
      const elsewhere = sources.length === 0 ? '' : ` Also: ${sources.join(', ')}.`
      return definition(bold(key), text(`${summary} Expected: ${expected}. Default: ${initial}.${elsewhere}`))
    }),
    section('EXAMPLE'),
    verbatim('host-name: kvm07'),
    verbatim('state-url: postgres://vmcache@state.example.org/vmcache'),
    verbatim('state-password-file: /etc/vmcache/state-password'),
    section('SEE ALSO'),
    '.BR vmcache (1),',
    '.BR vmcache\\-config\\-show (1),',
    '.BR vmcache\\-config\\-check (1)',
  ])
}

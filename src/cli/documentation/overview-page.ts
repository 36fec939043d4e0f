import { EXIT, type ExitName } from '../../base/errors.js'
import type { CommandDescription } from './command-description.js'
import { flagText, pageName } from './command-page.js'
import { bold, definition, page, paragraph, section, text, title, verbatim } from './roff.js'

const EXIT_MEANING: Readonly<Record<ExitName, string>> = {
  ok: 'All is as it was asked for.',
  failed: 'Something broke that has no code of its own; doctor found a failure.',
  usage: 'A flag or value is wrong, or one is missing where nobody can be asked.',
  'not-found': 'There is no such cache, disk, VM, host or job.',
  conflict: 'It exists with other settings, is in use, or is in the wrong state.',
  'no-space': 'There are not enough chunks.',
  'engine-unavailable': 'No engine runs, or it cannot be started or reached.',
  refused: 'It would lose data or break a promise; the message names what insists.',
  partial: 'Some of several targets failed. Where all failed alike, the code is theirs.',
  hypervisor: 'QEMU or libvirt refused or failed.',
  origin: 'The storage of the disk refused or failed.',
  denied: 'No permission on the control socket, a device or an image.',
  timeout: 'The waiting ended; the job goes on.',
  interrupted: 'Cancelled by the user; what was begun is rolled back or can be repeated.',
}

/** vmcache(1): what there is, and what holds for every command. */
export function overviewPage(commands: readonly CommandDescription[]): string {
  const flags = commands[0]!.flags.filter(({ group }) => group === 'global')
  const changes = commands.find(({ flags }) => flags.some(({ group }) => group === 'change'))!
  return page([
    title('vmcache', 1),
    section('NAME'),
    'vmcache \\- a cache on fast local storage for the disks of virtual machines',
    section('SYNOPSIS'),
    `${bold('vmcache')} \\fITOPIC\\fR [\\fIVERB\\fR] [\\fIARGUMENT\\fR...] [\\fIOPTION\\fR...]`,
    section('DESCRIPTION'),
    text(
      'A cache is a pool of devices or files on fast local storage. Attached to a cache, the disk of a virtual machine is ' +
        'served by NBD to QEMU or any other client, and what is read or written stays in the cache while the disk itself ' +
        'stays where it is. One engine serves all caches of a host.',
    ),
    paragraph(
      text(
        'The commands ask the engine over its control socket. A command that changes something starts an engine where ' +
          'none runs, and says so; a command that reads says that none runs. Asking for what already is succeeds.',
      ),
    ),
    verbatim('vmcache cache create fast --device /dev/nvme1n1'),
    verbatim('vmcache cache attach fast /images/web01.raw'),
    section('COMMANDS'),
    ...commands.map(({ name, summary }) => definition(bold(name), text(summary))),
    section('OPTIONS OF EVERY COMMAND'),
    ...flags.map(flagText),
    section('OPTIONS OF EVERY CHANGE'),
    ...changes.flags.filter(({ group }) => group === 'change').map(flagText),
    section('VALUES'),
    text(
      'A size is a whole number of bytes with k, m, g or t for powers of 1024, such as 16m. A duration is a whole number ' +
        'with s, m, h or d, such as 10m. A percentage is a whole number such as 20%. Names of several objects may be ' +
        'globs; quote them, so that the shell leaves them alone.',
    ),
    section('OUTPUT'),
    text(
      'Results go to standard output, everything else to standard error. With --json there is one document on standard ' +
        'output: the result, or {"error": {"code", "exit", "message", "hint", "details"}}. Where several targets were ' +
        'named, or checks failed, the document has both. Commands that go on (--watch, --follow) print one document per ' +
        'line. Without a terminal there are no colours, no questions and no progress.',
    ),
    section('EXIT STATUS'),
    ...Object.entries(EXIT).map(([name, code]) => definition(bold(String(code)), text(EXIT_MEANING[name as ExitName]))),
    section('ENVIRONMENT'),
    ...flags
      .filter(({ environment }) => environment !== null)
      .map(({ name, environment }) => definition(bold(environment!), text(`As --${name}.`))),
    definition(bold('NO_COLOR'), text('As --no-color, where it is not empty.')),
    definition(bold('VMCACHE_DEBUG'), text('Shows where an internal error happened.')),
    section('FILES'),
    definition('\\fI/etc/vmcache/config.yaml\\fR', 'The configuration, if there is one.'),
    definition('\\fI/var/lib/vmcache\\fR', 'State of the engine: the id of the host, the state database, the log.'),
    definition('\\fI/run/vmcache/control.sock\\fR', 'The control socket (HTTP and JSON).'),
    section('SEE ALSO'),
    ...[...commands.map(({ name }) => [pageName(name), 1]), ['vmcache-config', 5]].map(
      ([name, number]) => `.BR ${text(String(name))} (${number}),`,
    ),
    '.BR vmcache\\-format (5),',
    '.BR vmcache\\-architecture (7),',
    '.BR vmcache\\-recovery (7)',
  ])
}

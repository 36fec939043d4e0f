import { join } from 'node:path'
import { imageLockListPath } from './image-lock-list.js'
import { suspendedListPath } from './suspended-list.js'
import { libvirtHook, LIBVIRT_HOOK } from './libvirt-hook.js'
import { MARK } from './mark.js'

/** A file that `engine install` lays down. */
export interface ServiceFile {
  /** Absolute. */
  readonly path: string
  readonly mode: number
  readonly text: string
}

export interface ServiceProgram {
  /** Absolute path of Node.js. */
  readonly node: string
  /** Absolute path of the supervisor's entry. */
  readonly daemon: string
  /** The state directory of the machine's engine. */
  readonly stateDir: string
}

export const SUPERVISOR_UNIT = 'vmcache-supervisor.service'
/** What an administrator starts, stops, restarts: restarting it replaces the engine and nothing else. */
export const ENGINE_UNIT = 'vmcache.service'
export const CONTROL_GROUP = 'vmcache'

const UNITS = '/etc/systemd/system'

/** Everything that makes vmcache a service of the machine, but for the group itself. */
export function serviceFiles(program: ServiceProgram): ServiceFile[] {
  return [
    { path: join(UNITS, SUPERVISOR_UNIT), mode: 0o644, text: supervisorUnit(program) },
    { path: join(UNITS, ENGINE_UNIT), mode: 0o644, text: engineUnit() },
    { path: '/etc/sysusers.d/vmcache.conf', mode: 0o644, text: `${MARK}\ng ${CONTROL_GROUP} -\n` },
    { path: '/etc/tmpfiles.d/vmcache.conf', mode: 0o644, text: directories(program) },
    { path: `/etc/needrestart/restart.d/${SUPERVISOR_UNIT}`, mode: 0o755, text: needrestart() },
    {
      path: LIBVIRT_HOOK,
      mode: 0o755,
      text: libvirtHook({
        imageLocks: imageLockListPath(program.stateDir),
        suspended: suspendedListPath(program.stateDir),
      }),
    },
  ]
}

/**
 * The supervisor holds what must outlive engines, so nothing but a stop ends it: a reload is a new engine. It comes after the
 * storage that origins lie on and before the virtual machines; it says that it is ready when everything is served.
 */
function supervisorUnit({ node, daemon }: ServiceProgram): string {
  return `${MARK}
[Unit]
Description=vmcache supervisor (sockets and image locks of the disk cache)
Documentation=man:vmcache(1)
After=local-fs.target remote-fs.target network.target iscsid.service iscsi.service open-iscsi.service multipathd.service
Before=libvirtd.service virtqemud.service libvirt-guests.service
StopPropagatedFrom=${ENGINE_UNIT}

[Service]
Type=notify
NotifyAccess=main
ExecStart=${quoted(node)} ${quoted(daemon)}
ExecReload=/bin/kill -HUP $MAINPID
Environment=UV_THREADPOOL_SIZE=32
# The supervisor closes its engine; whatever is left then is killed.
KillMode=mixed
TimeoutStartSec=infinity
TimeoutStopSec=90
Restart=on-failure
RestartSec=1
OOMScoreAdjust=-900
LimitNOFILE=1048576
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
`
}

function engineUnit(): string {
  const signal = (name: string) => `/bin/systemctl kill --kill-who=main --signal=${name} ${SUPERVISOR_UNIT}`
  return `${MARK}
[Unit]
Description=vmcache engine (a restart replaces the engine behind the open sockets of its disks)
Documentation=man:vmcache(1)
BindsTo=${SUPERVISOR_UNIT}
After=${SUPERVISOR_UNIT}

[Service]
Type=oneshot
RemainAfterExit=yes
# The supervisor starts with an engine; it needs to be told only after a stop.
ExecStart=${signal('SIGUSR2')}
ExecStop=-${signal('SIGUSR1')}
ExecReload=/bin/systemctl reload ${SUPERVISOR_UNIT}

[Install]
WantedBy=multi-user.target
`
}

function directories({ stateDir }: ServiceProgram): string {
  return `${MARK}
d /run/vmcache 0755 root root -
d ${quoted(stateDir)} 0700 root root -
`
}

/** Run by needrestart in place of a restart. */
function needrestart(): string {
  return `#!/bin/sh
${MARK}
exec systemctl reload ${SUPERVISOR_UNIT}
`
}

/** A word of a command line of systemd. */
function quoted(word: string): string {
  const escaped = word.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /[\s"'\\;]/.test(word) ? `"${escaped}"` : escaped
}

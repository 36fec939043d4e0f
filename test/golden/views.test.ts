/** What people see, at 80 and at 120 columns and in a pipe. After a change that is meant: `npx vitest run test/golden -u`. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PLAIN, loadPaint } from '../../src/cli/paint.js'
import type { Screen } from '../../src/cli/screen.js'
import { cacheProperties, cacheTable, createdText } from '../../src/cli/views/cache-view.js'
import { checkpointProperties, checkpointTable } from '../../src/cli/views/checkpoint-view.js'
import { configurationTable } from '../../src/cli/views/configuration-view.js'
import { deviceTable } from '../../src/cli/views/device-view.js'
import { diskProperties, diskTable, resolvedText } from '../../src/cli/views/disk-view.js'
import { doctorText } from '../../src/cli/views/doctor-view.js'
import { eventLine, eventTable } from '../../src/cli/views/event-view.js'
import { jobProperties, jobTable } from '../../src/cli/views/job-view.js'
import { leaseProperties, leaseTable } from '../../src/cli/views/lease-view.js'
import { policiesTable, policyTable } from '../../src/cli/views/policy-view.js'
import { scrubText } from '../../src/cli/views/scrub-view.js'
import { recoverText } from '../../src/cli/views/recover-view.js'
import { latencyTable, statsTable } from '../../src/cli/views/stats-view.js'
import { engineProperties, statusText } from '../../src/cli/views/status-view.js'
import { targetsText } from '../../src/cli/views/targets-view.js'
import { vmTable, vmText } from '../../src/cli/views/vm-view.js'
import * as sample from '../support/sample-documents.js'

process.env['TZ'] = 'UTC'

const configuration = [
  { key: 'host-name', value: 'kvm07', source: 'default' },
  { key: 'state-password-file', value: null, source: 'default' },
  { key: 'io-threads', value: 4, source: 'file /etc/vmcache/config.yaml line 3' },
]

const views: Record<string, (screen: Screen) => string | Promise<string>> = {
  status: (screen) => statusText(sample.status, screen),
  'status-of-a-new-host': (screen) => statusText(sample.emptyStatus, screen),
  'engine-status': (screen) => engineProperties(sample.engine, screen),
  doctor: (screen) => doctorText(sample.checks, screen),
  'cache-list': (screen) => cacheTable([sample.fast, sample.spare], sample.stats.caches, screen),
  'cache-show': (screen) => cacheProperties(sample.fast, screen),
  'cache-show-without-disks': (screen) => cacheProperties(sample.spare, screen),
  'cache-create': () => createdText(sample.fast, true),
  'device-list': (screen) =>
    deviceTable(
      sample.fast.devices.map((device) => ({ ...device, cache: 'fast' })),
      screen,
    ),
  'disk-list': (screen) => diskTable([sample.db, sample.web], sample.stats.disks, screen),
  'disk-list-of-vms': (screen) =>
    diskTable([{ ...sample.web, vm: 'web01', target: 'vda' }, sample.db], sample.stats.disks, screen),
  'disk-show': (screen) => diskProperties(sample.db, screen),
  'disk-show-in-write-back': (screen) => diskProperties(sample.mail, screen),
  'disk-resolve': () =>
    resolvedText({ changed: true, disk: sample.web, writtenBytes: 3 * 2 ** 20, lostPages: [17, 4711], damages: 1 }),
  'cache-scrub': () => scrubText(sample.scrubbed),
  'cache-recover': () => recoverText(sample.recovered),
  'vm-list': (screen) => vmTable(sample.vms, [sample.web], sample.stats.disks, screen),
  'vm-show': (screen) => vmText(sample.vms[0]!, screen),
  'vm-show-unknown': (screen) => vmText(sample.vms[2]!, screen),
  'vm-show-suspended': (screen) => vmText(sample.vms[1]!, screen),
  'checkpoint-list': (screen) => checkpointTable(sample.checkpoints, screen),
  'checkpoint-show-storage': (screen) => checkpointProperties(sample.checkpoints[1]!, screen),
  'checkpoint-show': (screen) => checkpointProperties(sample.checkpoints[0]!, screen),
  'policy-show': (screen) => policyTable(sample.policyOfDisk, screen),
  'policy-show-of-a-vm': (screen) => policyTable(sample.policyOfVm, screen),
  'policy-list': (screen) => policiesTable(sample.policies, screen),
  stats: (screen) => statsTable(sample.stats, [sample.db, sample.web], screen),
  'stats-of-slow-storage': (screen) => statsTable(sample.slowStats, [sample.mail], screen),
  'stats-latency': (screen) => latencyTable(sample.stats, screen),
  'job-list': (screen) => jobTable([sample.job, sample.failedJob], screen),
  'job-show': (screen) => jobProperties(sample.failedJob, screen),
  'lease-list': (screen) => leaseTable(sample.leases, screen),
  'lease-show': (screen) => leaseProperties(sample.leases[1]!, screen),
  'lease-show-given-back': (screen) => leaseProperties(sample.leases[2]!, screen),
  'event-list': (screen) => eventTable(sample.events, screen),
  'event-follow': (screen) => eventLine(sample.events[1]!, screen),
  'config-show': (screen) => configurationTable(configuration, screen),
  targets: () =>
    targetsText(
      [
        { name: 'web01/vda', ok: true, changed: true, error: null },
        { name: 'db01/vda', ok: true, changed: false, error: null },
      ],
      'flushed',
    ),
}

for (const [name, view] of Object.entries(views)) {
  for (const width of [80, 120, null]) {
    test(`${name} at ${width ?? 'any number of'} columns`, async () => {
      const text = await view({ width, paint: PLAIN, now: sample.NOW })
      expect(text).not.toMatch(/ $/m)
      await expect(`${text}\n`).toMatchFileSnapshot(join('views', `${name}.${width ?? 'pipe'}.txt`))
    })
  }
}

test('colours change nothing but colours', async () => {
  const paint = await loadPaint(true)
  for (const view of Object.values(views)) {
    const coloured = await view({ width: 120, paint, now: sample.NOW })
    expect(coloured.replaceAll(/\u001b\[\d+m/g, '')).toBe(await view({ width: 120, paint: PLAIN, now: sample.NOW }))
  }
})

import { startGuest } from '../support/guest/guest.js'
import type { Monitor } from '../support/guest/qmp.js'
import type { Client, Measurement, Records } from './measurement.js'

/** Bin edges of QEMU's latency histogram, in nanoseconds: ten per cent apart from 5 us to 10 s. */
const EDGES = Array.from({ length: 153 }, (_, index) => Math.round(5000 * 1.1 ** index))

const RECORD_BYTES = 512

/** A guest that has the cached disk as /dev/vda and the storage itself, read-only, as /dev/vdb. */
export async function guestClient(sockets: { directory: string; cached: string; direct: string }): Promise<Client> {
  const guest = await startGuest({
    directory: sockets.directory,
    disks: [{ socket: sockets.cached }, { socket: sockets.direct, readOnly: true }],
  })
  await guest.run('mkdir /mnt/cached /mnt/direct')
  const mounts = {
    direct: {
      device: '/machine/peripheral/virtio1/virtio-backend',
      mount: 'mount -t ext4 -o ro,noload /dev/vdb /mnt/direct',
    },
    cached: {
      device: '/machine/peripheral/virtio0/virtio-backend',
      mount: 'mount -t ext4 -o noatime /dev/vda /mnt/cached',
    },
  }

  return {
    description: `a guest: Linux under QEMU (software emulation), booted in ${(guest.bootMilliseconds / 1000).toFixed(1)} s, that mounts the disk and reads every file`,

    async readAll(path) {
      const { device, mount } = mounts[path]
      const directory = `/mnt/${path}`
      await guest.run('sync; echo 3 > /proc/sys/vm/drop_caches')
      await guest.monitor.execute('block-latency-histogram-set', { id: device, 'boundaries-read': EDGES })
      const before = await countersOf(guest.monitor, device)
      const begun = performance.now()
      await guest.run(
        `${mount} && find ${directory} -type f -print0 | xargs -0 cat > /dev/null && umount ${directory}`,
        120_000,
      )
      const seconds = (performance.now() - begun) / 1000
      const after = await countersOf(guest.monitor, device)
      return {
        requests: after.rd_operations - before.rd_operations,
        bytes: after.rd_bytes - before.rd_bytes,
        seconds,
        p50Microseconds: percentileOf(after.rd_latency_histogram!.bins, 0.5),
        p99Microseconds: percentileOf(after.rd_latency_histogram!.bins, 0.99),
      } satisfies Measurement
    },

    async writeRecords() {
      const writtenAt: number[] = []
      await guest.run(mounts.cached.mount)
      const writer = guest.start(
        `n=0; until [ -e /tmp/enough ]; do
          printf '%${RECORD_BYTES - 1}d\\n' $n | dd of=/mnt/cached/records bs=${RECORD_BYTES} seek=$n conv=notrunc,fsync 2>/tmp/dd || { cat /tmp/dd; exit 1; }
          echo $n; n=$((n+1))
        done`,
        () => writtenAt.push(performance.now()),
      )
      await writer.waitForLine(/^5$/)
      return async (): Promise<Records> => {
        await guest.run('touch /tmp/enough')
        const { code, output } = await writer.ended
        if (code !== 0) throw new Error(`the guest could not write: ${output}`)
        const check = `umount /mnt/cached; echo 3 > /proc/sys/vm/drop_caches; ${mounts.cached.mount} &&
          awk '$1 == NR - 1 { good++ } END { print good + 0 }' /mnt/cached/records; umount /mnt/cached`
        const written = writtenAt.length
        return {
          written,
          lost: written - Number(await guest.run(check)),
          longestPauseMilliseconds: Math.max(...writtenAt.slice(1).map((at, index) => at - writtenAt[index]!)),
        }
      }
    },

    close: () => guest.stop(),
  }
}

interface Counters {
  rd_operations: number
  rd_bytes: number
  rd_latency_histogram?: { bins: number[] }
}

async function countersOf(monitor: Monitor, device: string): Promise<Counters> {
  const devices = await monitor.execute<{ qdev: string; stats: Counters }[]>('query-blockstats')
  return devices.find(({ qdev }) => qdev === device)!.stats
}

/** Upper edge of the bin that holds the percentile. */
function percentileOf(bins: readonly number[], share: number): number {
  const total = bins.reduce((sum, count) => sum + count, 0)
  let seen = 0
  const bin = bins.findIndex((count) => (seen += count) >= total * share)
  return EDGES[Math.min(Math.max(bin, 0), EDGES.length - 1)]! / 1000
}

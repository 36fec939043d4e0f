import type { VmLoad } from '../../model/idleness.js'

const NANOSECONDS = 1e9

/** What domains have done, by name, from the output of `virsh domstats --raw`. */
export function parseLoads(text: string): Map<string, VmLoad> {
  const loads = new Map<string, VmLoad>()
  for (const part of text.split(/^Domain: '/m).slice(1)) {
    const name = part.slice(0, part.indexOf("'\n"))
    const sum = (key: RegExp): number =>
      [...part.matchAll(/^\s*([\w.]+)=(\d+)$/gm)].reduce(
        (total, [, found, value]) => total + (key.test(found!) ? Number(value) : 0),
        0,
      )
    loads.set(name, {
      cpuSeconds: sum(/^cpu\.time$/) / NANOSECONDS,
      diskRequests: sum(/^block\.\d+\.(rd|wr|fl)\.reqs$/),
    })
  }
  return loads
}

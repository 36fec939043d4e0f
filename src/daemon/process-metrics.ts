import { memoryUsage, resourceUsage, uptime } from 'node:process'
import type { Clock } from '../base/clock.js'

/** What Prometheus wants to know of a process, and which version of vmcache it is. */
export function processMetrics(version: string, runningJobs: number, clock: Clock): string {
  const { userCPUTime, systemCPUTime } = resourceUsage()
  const startedAt = clock.now() / 1000 - uptime()
  return [
    metric('vmcache_info', 'gauge', 'The engine.', 1, `{version="${version}"}`),
    metric('vmcache_jobs_running', 'gauge', 'Jobs that run.', runningJobs),
    metric('process_cpu_seconds_total', 'counter', 'Processor time.', (userCPUTime + systemCPUTime) / 1e6),
    metric('process_resident_memory_bytes', 'gauge', 'Memory in use.', memoryUsage.rss()),
    metric('process_start_time_seconds', 'gauge', 'Start, in seconds since 1970.', Math.round(startedAt)),
  ].join('')
}

function metric(name: string, type: 'gauge' | 'counter', help: string, value: number, labels = ''): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name}${labels} ${value}\n`
}

import { readFile } from 'node:fs/promises'

/** Of the times in /proc/PID/stat; the same on every Linux. */
const TICKS_PER_SECOND = 100
/** Fields after the name of the program, which may hold anything: proc(5) counts them from 3. */
const USER_TIME = 14 - 3
const SYSTEM_TIME = 15 - 3

/** Time that a process and all its threads have used of processors. */
export async function processSeconds(pid: number): Promise<number> {
  return secondsIn(await readFile(`/proc/${pid}/stat`, 'utf8'))
}

/** The same by the text of its `stat`. */
export function secondsIn(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[USER_TIME]) + Number(fields[SYSTEM_TIME])) / TICKS_PER_SECOND
}

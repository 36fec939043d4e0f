import type { CacheCheckDocument, CheckFinding } from '../../protocol/control/cache-check.js'
import type { Screen } from '../screen.js'
import { renderTable, type Column } from '../table.js'
import { count, orNone } from './text.js'

/** `vmcache cache check`: what is wrong, what was looked at. */
export async function checkText(check: CacheCheckDocument, screen: Screen): Promise<string> {
  const { cache, devices, chunks, logs, checkpoints, findings, repaired } = check
  const entries = logs.reduce((sum, log) => sum + log.entries, 0)
  const left = chunks.left + chunks.damaged === 0 ? '' : `, ${chunks.left} left over, ${chunks.damaged} damaged`
  const lines = [
    `cache ${cache}: ${count(devices.length, 'device')}, ${count(chunks.total, 'chunk')} (${chunks.log + chunks.checkpoint} in use, ${chunks.free} free${left})`,
    ...logs.map(({ disk, logId, end, chunks: ofLog }) => `  ${disk || logId}: ${count(ofLog, 'chunk')}, ${end}`),
    ...checkpoints.map(
      ({ checkpoint, vm, chunks: ofIt }) => `  checkpoint of ${vm || checkpoint}: ${count(ofIt, 'chunk')}`,
    ),
    `${count(entries, 'page')} read, ${count(findings.length, 'finding')}${repaired === 0 ? '' : `, ${repaired} mended`}`,
  ]
  return findings.length === 0 ? lines.join('\n') : `${await findingTable(findings, screen)}\n\n${lines.join('\n')}`
}

function findingTable(findings: readonly CheckFinding[], screen: Screen): Promise<string> {
  const { paint } = screen
  const columns: Column<CheckFinding>[] = [
    { head: 'DEVICE', value: ({ device }) => device, cutTo: 16, cutFrom: 'start' },
    { head: 'CHUNK', value: ({ chunk }) => orNone(chunk) },
    { head: 'WHAT', value: ({ kind }) => kind },
    {
      head: 'EFFECT',
      value: ({ effect, repaired }) => {
        if (repaired) return paint.good('mended')
        return effect === 'harmless' ? effect : paint.warning(effect)
      },
    },
    { head: 'SEEN', value: ({ seen }) => seen, cutTo: 20 },
    { head: 'EXPECTED', value: ({ expected }) => expected, cutTo: 20, spare: 1 },
  ]
  return renderTable(columns, findings, screen)
}

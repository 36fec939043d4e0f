import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Config } from '@oclif/core/config'
import type { PJSON } from '@oclif/core/interfaces'
import { run } from '@oclif/core/run'
import { settings } from '@oclif/core/settings'
import { listenForInterruption } from './interruption.js'
import { toVmcacheError } from './oclif-error.js'
import { renderError } from './output.js'
import { TOPICS } from './topics.js'

const HELP = fileURLToPath(new URL('./help.js', import.meta.url))
const root = fileURLToPath(new URL('../..', import.meta.url))

/** Runs one command line to its end; the exit code is left in `process.exitCode`. */
export async function main(argv: readonly string[] = process.argv.slice(2)): Promise<void> {
  listenForInterruption()
  for (const stream of [process.stdout, process.stderr]) stream.on('error', endOnClosedPipe)
  settings.enableAutoTranspile = false
  const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...argv]
  const options = { root, pjson: packageJson() }
  try {
    await run(words, options)
  } catch (error) {
    const config = await Config.load(options)
    const commands = config.commands.filter(({ hidden }) => !hidden).map(({ id }) => id.replaceAll(':', ' '))
    const failure = toVmcacheError(error, { argv: words, commands })
    process.exitCode = failure.exit
    const beforeDashes = words.slice(0, words.includes('--') ? words.indexOf('--') : words.length)
    await renderError(failure, {
      json: beforeDashes.includes('--json'),
      noColour: beforeDashes.includes('--no-color'),
    })
  }
}

/** The oclif settings of package.json, with what is better kept beside the commands. */
function packageJson(): PJSON {
  const pjson = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PJSON
  return {
    ...pjson,
    oclif: {
      ...pjson.oclif,
      topics: Object.fromEntries(Object.entries(TOPICS).map(([name, description]) => [name, { description }])),
      helpClass: HELP,
      additionalHelpFlags: ['-h'],
      additionalVersionFlags: ['-V'],
    },
  }
}

/** Who reads our output has gone (`| head`): there is nobody to tell. */
function endOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit()
  throw error
}

import { VmcacheError } from '../base/errors.js'
import { isInteractive } from './interactive.js'

/** Returns when the user says yes (`initial`: what Enter alone says); INTERRUPTED otherwise. USAGE without a terminal: --yes answers there. */
export async function confirmed(question: string, initial = false): Promise<void> {
  if (!isInteractive()) {
    throw new VmcacheError('USAGE', `${question} Nobody is there to answer`, {
      hint: 'give --yes',
      details: { missing: ['--yes'] },
    })
  }
  const { confirm } = await import('@inquirer/prompts')
  const yes = await confirm({ message: question, default: initial }, { output: process.stderr })
  if (!yes) throw new VmcacheError('INTERRUPTED', 'not confirmed: nothing was changed')
}

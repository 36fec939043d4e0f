/** Writes man/ and completions/ anew: `node dist/cli/documentation/main.js`, after a build. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describeCommands } from './command-description.js'
import { documentation } from './documentation.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const commands = await describeCommands(fileURLToPath(new URL('../../commands', import.meta.url)))
for (const [path, text] of documentation(commands)) {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

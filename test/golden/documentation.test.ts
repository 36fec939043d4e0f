/** man/ and completions/ say what the commands say. Write them anew: `node bin/build.mjs && node dist/cli/documentation/main.js`. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { describeCommands } from '../../src/cli/documentation/command-description.js'
import { documentation } from '../../src/cli/documentation/documentation.js'
import { describeWith, pathOf } from '../support/packages.js'
import { run } from '../support/processes.js'
import { ROOT } from '../support/vmcache.js'

const commands = await describeCommands(join(ROOT, 'src', 'commands'))
const pages = documentation(commands)

describe('generated files are up to date', () => {
  test.each([...pages.keys()])('%s', (path) => {
    expect(readFileSync(join(ROOT, path), 'utf8')).toBe(pages.get(path))
  })

  test('no page is left of a command that is gone', () => {
    const written = readdirSync(join(ROOT, 'man')).filter((name) => name.endsWith('.1'))
    expect(written.filter((name) => !pages.has(`man/${name}`))).toEqual([])
  })
})

describe('every command says what people need to know', () => {
  test.each(commands.map((command) => [command.name, command] as const))('%s', (_name, command) => {
    expect(command.summary).toMatch(/^[A-Z].*\.$/)
    expect(command.summary.length).toBeLessThanOrEqual(100)
    expect(command.examples.length).toBeGreaterThan(0)
    for (const { command: line } of command.examples) expect(line).toContain(`vmcache ${command.name}`)
    for (const argument of command.args) expect(argument.description).toMatch(/^[A-Z].*\.$/)
    for (const flag of command.flags) expect(flag.summary).toMatch(/^[A-Z].*\.$/)
  })
})

describeWith(['groff'], 'groff takes every page without a warning', () => {
  test.each([...pages.keys()].filter((path) => path.startsWith('man/')))('%s', async (path) => {
    const { code, stdout, stderr } = await run(pathOf('groff'), ['-ww', '-man', '-P-cbu', '-Tascii', join(ROOT, path)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('DESCRIPTION')
  })
})

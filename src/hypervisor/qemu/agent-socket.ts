import { AGENT_PORT } from '../guest-agent.js'

/** The socket at which a QEMU with these arguments has the agent of its guest; null where it has none, or nobody can connect to it. */
export function agentSocket(qemuArguments: readonly string[]): string | null {
  const valuesOf = (option: string): Properties[] =>
    qemuArguments.flatMap((word, index) => {
      const value = qemuArguments[index + 1]
      return word.replace(/^--/, '-') === option && value !== undefined ? [propertiesOf(value)] : []
    })
  const port = valuesOf('-device').find(({ driver, name }) => driver === 'virtserialport' && name === AGENT_PORT)
  const back = valuesOf('-chardev').find(({ driver, id }) => driver === 'socket' && id === port?.['chardev'])
  const listens = back?.['server'] === 'on' || back?.['server'] === ''
  return port !== undefined && listens ? (back?.['path'] ?? null) : null
}

type Properties = Readonly<Record<string, string>>

/** `socket,id=agent,path=/run/agent,server=on`, where a comma in a value is two; or JSON. The first word is the driver. */
function propertiesOf(value: string): Properties {
  if (value.startsWith('{')) return jsonProperties(value)
  const words = value.split(/(?<!,),(?!,)/).map((word) => word.replaceAll(',,', ','))
  return Object.fromEntries(
    words.map((word, index) => {
      const at = word.indexOf('=')
      if (at >= 0) return [word.slice(0, at), word.slice(at + 1)]
      return index === 0 ? ['driver', word] : [word, '']
    }),
  )
}

function jsonProperties(value: string): Properties {
  try {
    const entries = Object.entries(JSON.parse(value) as Record<string, unknown>)
    return Object.fromEntries(entries.map(([key, each]) => [key, String(each)]))
  } catch {
    // QEMU refuses it.
    return {}
  }
}

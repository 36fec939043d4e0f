/**
 * hypervisor/libvirt/: domains of libvirt, reached through virsh. Their definitions stay as they are.
 */
import { VmcacheError } from '../../base/errors.js'

/** An element of an XML document. */
export interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: readonly Element[]
  readonly text: string
}

const TOKEN =
  /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<!\[CDATA\[([\s\S]*?)\]\]>|<(\/?)([^\s/>]+)((?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>|[^<]+/gy
const ATTRIBUTE = /([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" }

interface OpenElement {
  name: string
  attributes: Record<string, string>
  children: Element[]
  text: string
}

/** The root of a document as libvirt writes it (no document type, no entities of its own); HYPERVISOR where it is none. */
export function parseXml(text: string): Element {
  const root: OpenElement = { name: '', attributes: {}, children: [], text: '' }
  const open = [root]
  const tokens = new RegExp(TOKEN)
  while (tokens.lastIndex < text.length) {
    const at = tokens.lastIndex
    const match = tokens.exec(text)
    const parent = open.at(-1)!
    if (match === null) throw malformed(text.slice(at))
    const [token, literal, end, name, attributes, isEmpty] = match
    if (literal !== undefined) parent.text += literal
    else if (name === undefined) parent.text += token.startsWith('<') ? '' : decoded(token)
    else if (end === '/') {
      if (open.pop()!.name !== name || open.length === 0) throw malformed(token)
    } else {
      const element: OpenElement = { name, attributes: attributesOf(attributes ?? ''), children: [], text: '' }
      parent.children.push(element)
      if (isEmpty !== '/') open.push(element)
    }
  }
  const [document] = root.children
  if (document === undefined || open.length !== 1) throw malformed(text)
  return document
}

/** Elements below `element` along the path of names. */
export function elementsAt(element: Element, ...path: readonly string[]): readonly Element[] {
  return path.reduce<readonly Element[]>(
    (found, name) => found.flatMap(({ children }) => children.filter((child) => child.name === name)),
    [element],
  )
}

function attributesOf(text: string): Record<string, string> {
  return Object.fromEntries(
    [...text.matchAll(ATTRIBUTE)].map(([, name, double, single]) => [name!, decoded(double ?? single ?? '')]),
  )
}

function decoded(text: string): string {
  return text.replace(/&(#x[0-9a-f]+|#[0-9]+|[a-z]+);/gi, (whole, name: string) => {
    if (!name.startsWith('#')) return ENTITIES[name] ?? whole
    const code = name[1] === 'x' ? parseInt(name.slice(2), 16) : parseInt(name.slice(1), 10)
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}

function malformed(text: string): VmcacheError {
  return new VmcacheError('HYPERVISOR', `not a document of libvirt: ${JSON.stringify(text.slice(0, 80))}`)
}

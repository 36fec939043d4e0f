import { resolve } from 'node:path'

/** An origin as the engine knows it: an NBD URI as it is, a path made absolute from this directory. */
export function absoluteOrigin(text: string): string {
  return isUri(text) ? text : resolve(text)
}

export function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
}

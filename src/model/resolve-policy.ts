import type { Level, Policy } from './policy.js'

/** Where a value comes from. */
export type Source = Level | 'default'

export interface LevelPolicy {
  readonly level: Level
  readonly policy: Policy
}

export interface Resolved<Wanted> {
  readonly wanted: Wanted
  readonly sources: { readonly [Key in keyof Wanted]: Source }
}

/**
 * What is wanted of an object: of each setting the value of the nearest level that has it, else its default.
 *
 * @param levels nearest first
 */
export function resolvePolicy<Wanted extends object>(
  levels: readonly LevelPolicy[],
  defaults: Wanted,
): Resolved<Wanted> {
  const keys = Object.keys(defaults) as (keyof Wanted & keyof Policy)[]
  const found = keys.map((key) => {
    const setter = levels.find(({ policy }) => policy[key] !== undefined)
    return { key, value: setter?.policy[key] ?? null, source: setter?.level ?? ('default' as const) }
  })
  const set = found.filter(({ source }) => source !== 'default')
  return {
    wanted: { ...defaults, ...Object.fromEntries(set.map(({ key, value }) => [key, value])) },
    sources: Object.fromEntries(found.map(({ key, source }) => [key, source])) as Resolved<Wanted>['sources'],
  }
}

import { resolve } from 'node:path'
import { string as argument } from '@oclif/core/args'
import { boolean, custom, option, string } from '@oclif/core/flags'
import type { BooleanFlag } from '@oclif/core/interfaces'
import { VmcacheError } from '../base/errors.js'
import { parseDuration, parsePercent, parseSize } from '../base/units.js'
import { MODES } from '../model/mode.js'

/** A flag without a value; false where it is not given. */
export function switchFlag(options: Partial<BooleanFlag<boolean>>): BooleanFlag<boolean> {
  return boolean<boolean>({ default: false, ...options })
}

/** A flag that takes a size (`16m`); its value is bytes. */
export const sizeFlag = custom<number>({ parse: async (text) => parseSize(text), helpValue: 'SIZE' })

/** A flag that takes a duration (`10m`); its value is seconds. */
export const durationFlag = custom<number>({ parse: async (text) => parseDuration(text), helpValue: 'DURATION' })

/** A flag that takes a duration or `off`; its value is seconds, or null. */
export const timeoutFlag = custom<number | null>({
  parse: async (text) => (text === 'off' ? null : parseDuration(text)),
  helpValue: 'DURATION|off',
})

/** A flag that takes a text or `off`, which is null. */
export const textOrOff = custom<string | null>({ parse: async (text) => (text === 'off' ? null : text) })

/** Bytes, or a share 0..1 of the cache. */
export type Quota = { readonly bytes: number } | { readonly share: number }

/** A flag that takes a size or a percentage of the cache (`10g`, `20%`). */
export const quotaFlag = custom<Quota>({
  parse: async (text) => (text.endsWith('%') ? { share: parsePercent(text) } : { bytes: parseSize(text) }),
  helpValue: 'SIZE|PERCENT',
})

/** A flag that takes a whole number from `min` to `max`. */
export const countFlag = custom<number, { minimum: number; maximum: number }>({
  parse: async (text, _context, { minimum, maximum }) => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (value >= minimum && value <= maximum) return value
    throw new VmcacheError('USAGE', `${JSON.stringify(text)} is not a whole number from ${minimum} to ${maximum}`, {
      details: { seen: text, minimum, maximum },
    })
  },
  helpValue: 'N',
})

/** Settings of a disk, for `cache attach` and `policy set --disk`. */
export const diskFlags = {
  mode: option({ options: MODES, summary: 'How writes go through the cache.' })(),
  replacement: custom<string>({
    parse: async (text) => (text.includes('/') ? resolve(text) : text),
  })({
    summary: 'Replacement policy: fifo, lru, clock, arc, s3-fifo, sieve, or the path of a module.',
    helpValue: 'POLICY',
  }),
  min: quotaFlag({ summary: 'Part of the cache that is kept for the disk.' }),
  max: quotaFlag({ summary: 'Part of the cache that the disk may use at most.' }),
  shares: countFlag({
    minimum: 1,
    maximum: 1_000_000,
    summary: 'Weight of the disk where several compete for the cache.',
  }),
}

/** A name that must be given. */
export const requiredArgument = (description: string) => argument({ required: true, ignoreStdin: true, description })
/** A name that a wizard asks for where it is not given. */
export const optionalArgument = (description: string) => argument({ ignoreStdin: true, description })
/** One name or more. */
export const requiredTargetsArgument = (description: string) =>
  argument({ required: true, multiple: true, ignoreStdin: true, description })
/** Any number of names or globs. */
export const targetsArgument = (description: string) => argument({ multiple: true, ignoreStdin: true, description })

/** Which objects a command is about, besides the names in its arguments. */
export const targetFlags = {
  all: switchFlag({ summary: 'All of them.' }),
  exclude: string({
    summary: 'All but this one (name or quoted glob; may be given several times).',
    helpValue: 'NAME',
    multiple: true,
    multipleNonGreedy: true,
  }),
}

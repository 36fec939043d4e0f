/** "Error values": the numbers of the error field, and the names that the rest of vmcache uses for them. */
export const ERROR_NUMBERS = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const

export type ErrorName = keyof typeof ERROR_NUMBERS

const NAMES = new Map<number, ErrorName>(
  Object.entries(ERROR_NUMBERS).map(([name, number]) => [number, name as ErrorName]),
)

/** The name of a number from the wire; what the protocol does not define counts as EIO. */
export function errorNameOf(number: number): ErrorName {
  return NAMES.get(number) ?? 'EIO'
}

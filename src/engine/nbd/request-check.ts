import { Command, CommandFlag, DEFAULT_MAXIMUM_PAYLOAD_BYTES, TransmissionFlag } from '../../protocol/nbd/constants.js'
import { ERROR_NUMBERS } from '../../protocol/nbd/error-number.js'
import type { RequestHeader } from '../../protocol/nbd/request.js'
import type { ServedDisk } from '../disk/served-disk.js'

/** An error reply. */
export interface Refusal {
  readonly error: number
  readonly message: string
}

const refusal = (error: keyof typeof ERROR_NUMBERS, message: string): Refusal => ({
  error: ERROR_NUMBERS[error],
  message,
})

const UNKNOWN_COMMAND = refusal('EINVAL', 'this command is not supported')
const UNKNOWN_FLAG = refusal('EINVAL', 'a flag does not belong to this command')
const READ_ONLY = refusal('EPERM', 'the disk is read-only')
const NOT_EMPTY = refusal('EINVAL', 'offset and length of a flush are zero')
const EMPTY = refusal('EINVAL', 'the length is zero')
const TOO_LONG = refusal('EINVAL', 'more than 32 MiB in one request')
const MISALIGNED = refusal('EINVAL', 'offset or length is not a multiple of the minimum block size')
const BEYOND_END = refusal('EINVAL', 'the range ends beyond the end of the disk')
const NO_SPACE = refusal('ENOSPC', 'the range ends beyond the end of the disk')

interface CommandRule {
  /** Flags that a client may set; FUA is taken, and means nothing, where nothing is written ("Command flags"). */
  readonly flags: number
  readonly writes: boolean
  /** Whether the length is that of a payload. */
  readonly payload: boolean
  /** The transmission flag that announces it; 0 where every export has it. */
  readonly announcedBy: number
}

const RULES: readonly (CommandRule | undefined)[] = (() => {
  const { fua, noHole, dontFragment, requestOne, fastZero } = CommandFlag
  const rules: (CommandRule | undefined)[] = []
  const reading = { writes: false, announcedBy: 0 }
  rules[Command.read] = { ...reading, flags: fua | dontFragment, payload: true }
  rules[Command.write] = { flags: fua, writes: true, payload: true, announcedBy: 0 }
  rules[Command.flush] = { ...reading, flags: fua, payload: false }
  rules[Command.cache] = { ...reading, flags: fua, payload: false }
  rules[Command.blockStatus] = { ...reading, flags: fua | requestOne, payload: false }
  rules[Command.trim] = { flags: fua, writes: true, payload: false, announcedBy: TransmissionFlag.sendTrim }
  rules[Command.writeZeroes] = {
    flags: fua | noHole | fastZero,
    writes: true,
    payload: false,
    announcedBy: TransmissionFlag.sendWriteZeroes,
  }
  return rules
})()

/**
 * Why a request is refused before it reaches the disk, or null ("Error values"). `announced` are the transmission flags
 * of the disk. Allocates nothing.
 */
export function refusalOf(request: Readonly<RequestHeader>, disk: ServedDisk, announced: number): Refusal | null {
  const rule = RULES[request.command]
  if (rule === undefined) return UNKNOWN_COMMAND
  if ((request.flags & ~rule.flags) !== 0) return UNKNOWN_FLAG
  if (rule.writes && disk.readOnly) return READ_ONLY
  if ((announced & rule.announcedBy) !== rule.announcedBy) return UNKNOWN_COMMAND
  const { offset, length } = request
  if (request.command === Command.flush) return offset === 0 && length === 0 ? null : NOT_EMPTY
  if (length === 0) return EMPTY
  if (rule.payload && length > DEFAULT_MAXIMUM_PAYLOAD_BYTES) return TOO_LONG
  if (offset % disk.minimumBlockBytes !== 0 || length % disk.minimumBlockBytes !== 0) return MISALIGNED
  if (offset + length <= disk.sizeBytes) return null
  return rule.writes && request.command !== Command.trim ? NO_SPACE : BEYOND_END
}

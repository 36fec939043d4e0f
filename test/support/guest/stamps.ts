import { open } from 'node:fs/promises'

/**
 * Blocks at the end of a disk that a guest writes one after the other, each flushed before the next: write number V goes to block
 * `V * 7919 % blocks` and says so. So whoever finds V there knows what every other block must hold.
 */
export interface StampedBlocks {
  /** Number of the first one. */
  readonly first: number
  readonly blocks: number
}

const BLOCK_BYTES = 4096
const STRIDE = 7919

const blockOf = (version: number, { blocks }: StampedBlocks): number => (version * STRIDE) % blocks
const textOf = (block: number, version: number): string => `block ${block} version ${version} of the stamped blocks\n`

/**
 * A script of a guest that stamps until /tmp/stop is there: it says `stamp V` when V is flushed, and ends with 1 where a write fails or a
 * block that is read back, past the guest's own cache, is not what was written.
 */
export function stampScript(
  device: string,
  stamped: StampedBlocks,
  { beside = ':' }: { beside?: string } = {},
): string {
  const { first, blocks } = stamped
  return `
v=0
while [ ! -e /tmp/stop ]; do
  v=$((v + 1))
  b=$((v * ${STRIDE} % ${blocks}))
  if [ -e /tmp/stamp.$b ]; then
    dd if=${device} iflag=direct bs=4096 skip=$((${first} + b)) count=1 status=none | cmp - /tmp/stamp.$b || exit 1
  fi
  yes "block $b version $v of the stamped blocks" | head -c 4096 > /tmp/stamp.$b
  dd if=/tmp/stamp.$b of=${device} bs=4096 seek=$((${first} + b)) conv=notrunc,fsync status=none || exit 1
  ${beside}
  echo "stamp $v"
done`
}

/**
 * Looks at the stamped blocks of an image: the newest version that is there, 0 where none is, and what is wrong with the others: each must
 * hold the last version before the newest that went to it.
 */
export async function checkStamps(
  path: string,
  stamped: StampedBlocks,
): Promise<{ newest: number; wrong: readonly string[] }> {
  const { first, blocks } = stamped
  const bytes = Buffer.alloc(blocks * BLOCK_BYTES)
  const file = await open(path)
  await file.read(bytes, 0, bytes.length, first * BLOCK_BYTES).finally(() => file.close())
  const wrong: string[] = []
  const versions = Array.from({ length: blocks }, (_, block) => {
    const found = bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
    const version = Number(/^block \d+ version (\d+) /.exec(found.toString('latin1', 0, 64))?.[1] ?? 0)
    const whole = version === 0 ? Buffer.alloc(BLOCK_BYTES) : Buffer.alloc(BLOCK_BYTES, textOf(block, version))
    if (!found.equals(whole)) wrong.push(`block ${block} is torn: it begins as version ${version}`)
    return version
  })
  const newest = Math.max(...versions)
  const expected = Array.from({ length: blocks }, () => 0)
  for (let version = Math.max(1, newest - blocks + 1); version <= newest; version++)
    expected[blockOf(version, stamped)] = version
  for (const [block, version] of versions.entries()) {
    if (version !== expected[block])
      wrong.push(`block ${block} has version ${version}, expected ${expected[block]} where ${newest} is the newest`)
  }
  return { newest, wrong }
}

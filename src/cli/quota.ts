import type { Quota } from './flags.js'

/** Bytes of a quota; a percentage is one of the cache's size, which is asked for only then. */
export async function quotaBytes(quota: Quota, cacheBytes: () => Promise<number>): Promise<number> {
  return 'bytes' in quota ? quota.bytes : Math.floor(quota.share * (await cacheBytes()))
}

/** The same for a maximum; null, the whole cache, for `100%`. */
export async function maximumBytes(quota: Quota, cacheBytes: () => Promise<number>): Promise<number | null> {
  return 'share' in quota && quota.share === 1 ? null : quotaBytes(quota, cacheBytes)
}

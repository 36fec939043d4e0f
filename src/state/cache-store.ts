import type { Kysely } from 'kysely'
import type { Schema } from './schema.js'

export interface CacheDeviceRecord {
  readonly deviceId: string
  readonly path: string
  readonly sizeBytes: number
  readonly chunks: number
}

export interface CacheRecord {
  readonly host: string
  readonly name: string
  readonly cacheId: string
  readonly blockBytes: number
  readonly chunkBytes: number
  readonly createdAt: string
  readonly devices: readonly CacheDeviceRecord[]
}

export interface CacheStore {
  /** Adds the cache, or replaces what is known of it; the caller runs it in a transaction. */
  save(cache: CacheRecord): Promise<void>
  delete(host: string, name: string): Promise<void>
  list(host: string): Promise<CacheRecord[]>
}

const deviceOf = ({ deviceId, path, sizeBytes, chunks }: CacheDeviceRecord): CacheDeviceRecord => ({
  deviceId,
  path,
  sizeBytes,
  chunks,
})

export function cacheStore(db: Kysely<Schema>): CacheStore {
  return {
    async save({ devices, ...cache }) {
      await db
        .insertInto('cache')
        .values(cache)
        .onConflict((conflict) => conflict.columns(['host', 'name']).doUpdateSet(cache))
        .execute()
      await db.deleteFrom('cacheDevice').where('host', '=', cache.host).where('cache', '=', cache.name).execute()
      await db
        .insertInto('cacheDevice')
        .values(devices.map((device, position) => ({ host: cache.host, cache: cache.name, position, ...device })))
        .execute()
    },
    async delete(host, name) {
      await db.deleteFrom('cache').where('host', '=', host).where('name', '=', name).execute()
    },
    async list(host) {
      const caches = await db.selectFrom('cache').selectAll().where('host', '=', host).orderBy('name').execute()
      const devices = await db
        .selectFrom('cacheDevice')
        .select(['cache', 'deviceId', 'path', 'sizeBytes', 'chunks'])
        .where('host', '=', host)
        .orderBy('position')
        .execute()
      return caches.map((cache) => ({
        ...cache,
        devices: devices.filter((device) => device.cache === cache.name).map(deviceOf),
      }))
    },
  }
}

import type { MessagePort } from 'node:worker_threads'
import { assert } from '../../base/assert.js'
import { systemClock } from '../../base/clock.js'
import type { Logger } from '../../base/logger.js'
import { SECTOR_BYTES } from '../../model/geometry.js'
import { FollowedLog } from '../log/followed-log.js'
import { singleExport } from '../nbd/export-table.js'
import { NbdServer } from '../nbd/nbd-server.js'
import type { SharedDiskMeter } from '../statistics/disk-meter.js'
import { Calls } from './calls.js'
import { DiskReader } from './disk-reader.js'
import type { OwnerCalls, ReaderCalls } from './sharing-messages.js'
import type { ThreadCache } from './thread-cache.js'

/** Serves connections of a read-only disk for the thread that owns it, at the other end of `port`, until that one closes it. */
export function serveShared(
  port: MessagePort,
  options: { readonly meter: SharedDiskMeter; readonly logger: Logger; cacheById(id: string): ThreadCache },
): void {
  const { meter, logger, cacheById } = options
  let served: { readonly disk: DiskReader; readonly server: NbdServer } | undefined
  let log: FollowedLog | undefined
  const owner: Calls<OwnerCalls, ReaderCalls> = new Calls<OwnerCalls, ReaderCalls>(port, {
    open(description) {
      const disk = new DiskReader(description, owner, meter, systemClock)
      const onEnded = (): void => void owner.call('connectionEnded', null)
      served = { disk, server: new NbdServer({ listenDescriptor: null, exports: singleExport(disk), logger, onEnded }) }
      served.server.start()
    },
    beginLog({ cacheId, phase }) {
      const cache = cacheById(cacheId)
      log = new FollowedLog(cache.chunkBytes / SECTOR_BYTES, (address) => cache.chunkAt(address))
      opened().disk.useLog(log, phase)
    },
    followLog(update) {
      assert(log !== undefined, 'a log begins before it is followed')
      return log.follow(update)
    },
    serve: (descriptor) => opened().server.serve(descriptor),
    close: () => opened().server.close(),
  })

  function opened(): NonNullable<typeof served> {
    assert(served !== undefined, 'a disk is opened first')
    return served
  }
}

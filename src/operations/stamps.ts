/**
 * What a stamp beside an image file says: which host writes the image through which disk. Hosts that share no state database
 * know each other by it.
 */
export interface Stamp {
  /** Random; the same for as long as the disk stays attached. */
  readonly id: string
  readonly hostId: string
  readonly hostName: string
  readonly disk: string
  readonly epoch: number
  /** Whether the cache of that host may hold writes that the image lacks. */
  readonly lacksWrites: boolean
}

/** What is said of `lacksWrites` where it is not given: what the stamp that is there says, no where there is none. */
export type StampChange = Omit<Stamp, 'lacksWrites'> & Partial<Pick<Stamp, 'lacksWrites'>>

export interface Stamps {
  /** Null where the image has none. Rejects where there is one that cannot be read. */
  read(image: string): Promise<Stamp | null>
  /** False where nothing can be written beside the image. */
  write(image: string, stamp: StampChange): Promise<boolean>
  /** Removes the stamp if it is still the one with this id. */
  remove(image: string, id: string): Promise<void>
}

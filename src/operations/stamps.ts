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
}

export interface Stamps {
  /** Null where the image has none. Rejects where there is one that cannot be read. */
  read(image: string): Promise<Stamp | null>
  /** False where nothing can be written beside the image. */
  write(image: string, stamp: Stamp): Promise<boolean>
  /** Removes the stamp if it is still the one with this id. */
  remove(image: string, id: string): Promise<void>
}

const STREAMS = 8

interface Stream {
  next: number
  bytes: number
  usedAt: number
}

/** Recognises sequential streams among interleaved requests: the few that went on last are remembered. */
export class Streams {
  readonly #streams: Stream[] = []
  #uses = 0

  /** Bytes that the stream which `offset` continues has moved in a row. */
  bytesBefore(offset: number): number {
    for (const stream of this.#streams) if (stream.next === offset) return stream.bytes
    return 0
  }

  /** Notes a request and returns how many bytes its stream has moved in a row, this request included. */
  note(offset: number, length: number): number {
    this.#uses++
    let oldest: Stream | undefined
    for (const stream of this.#streams) {
      if (stream.next === offset) {
        stream.next = offset + length
        stream.bytes += length
        stream.usedAt = this.#uses
        return stream.bytes
      }
      if (oldest === undefined || stream.usedAt < oldest.usedAt) oldest = stream
    }
    if (oldest === undefined || this.#streams.length < STREAMS) {
      this.#streams.push({ next: offset + length, bytes: length, usedAt: this.#uses })
    } else {
      oldest.next = offset + length
      oldest.bytes = length
      oldest.usedAt = this.#uses
    }
    return length
  }
}

import { checked, systemCall } from './libc.js'

const mkfifo = systemCall<[Uint8Array, number]>('mkfifo', ['void *', 'uint'], 'int')

/** Creates a FIFO at `path`, where there must be nothing; `mode` is cut by the umask. */
export function makeFifo(path: string, mode: number): void {
  checked(mkfifo.now(Buffer.from(`${path}\0`), mode), 'mkfifo', path)
}

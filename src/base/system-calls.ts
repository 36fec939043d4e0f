/** The system calls of base/system/, in one place. Importing this loads no native code; the first call does. */
export * from './system/boot.js'
export * from './system/file-calls.js'
export { addressOf, type OpenFile } from './system/libc.js'
export * from './system/is-running.js'
export * from './system/notify.js'
export * from './system/range-lock.js'
export * from './system/transfers.js'
export * from './system/unix-socket.js'

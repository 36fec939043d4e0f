import { sendDatagram } from './unix-socket.js'

/**
 * Tells the service manager a state, as sd_notify(3) does: `READY=1`, `STATUS=...`, `WATCHDOG=1`, one per line. False where
 * nobody asked to be told ($NOTIFY_SOCKET is not set).
 */
export function notifyServiceManager(state: string, environment: NodeJS.ProcessEnv = process.env): boolean {
  const path = environment['NOTIFY_SOCKET']
  if (path === undefined || path === '') return false
  sendDatagram(path, Buffer.from(state))
  return true
}

/** Whether somebody is there to answer questions: they are asked on standard error and answered on standard input. */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true
}

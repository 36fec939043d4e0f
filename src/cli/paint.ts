/** Colours by meaning; every function returns its text unchanged where no colours are wanted. */
export interface Paint {
  /** Headings and names. */
  strong(text: string): string
  /** What is there but matters less. */
  faint(text: string): string
  good(text: string): string
  warning(text: string): string
  bad(text: string): string
}

const same = (text: string): string => text
export const PLAIN: Paint = { strong: same, faint: same, good: same, warning: same, bad: same }

/** Whether text on a stream may carry colours: a terminal, and nobody said no (https://no-color.org). */
export function wantsColour(
  stream: { readonly isTTY?: boolean },
  noColour: boolean,
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  return stream.isTTY === true && !noColour && !environment['NO_COLOR'] && environment['TERM'] !== 'dumb'
}

export async function loadPaint(coloured: boolean): Promise<Paint> {
  if (!coloured) return PLAIN
  const { Chalk } = await import('chalk')
  const chalk = new Chalk({ level: 1 })
  return { strong: chalk.bold, faint: chalk.dim, good: chalk.green, warning: chalk.yellow, bad: chalk.red }
}

/** The few macros of man(7) that the pages need. Text is escaped; what begins with a dot never becomes a macro. */

/** Text of a paragraph. */
export function text(line: string): string {
  const escaped = line.replaceAll('\\', '\\e').replaceAll('-', '\\-')
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped
}

export function bold(line: string): string {
  return `\\fB${text(line)}\\fR`
}

/** A value that the user chooses. */
export function italic(line: string): string {
  return `\\fI${text(line)}\\fR`
}

/** Head of a page; without a date, so that it changes with the commands alone. */
export function title(name: string, section: 1 | 5): string {
  return `.TH ${name.toUpperCase().replaceAll(' ', '\\-')} ${section} "" vmcache "vmcache manual"`
}

export function section(name: string): string {
  return `.SH ${name}`
}

export function subsection(name: string): string {
  return `.SS ${name}`
}

export function paragraph(...lines: readonly string[]): string {
  return ['.PP', ...lines].join('\n')
}

/** A term and, indented below it, what it means. */
export function definition(term: string, meaning: string): string {
  return ['.TP', term, meaning].join('\n')
}

/** Lines that are kept as they are, in a fixed width. */
export function verbatim(line: string): string {
  return ['.PP', '.RS 4', '.EX', text(line), '.EE', '.RE'].join('\n')
}

/** The same for several lines. */
export function verbatimLines(lines: readonly string[]): string[] {
  return ['.PP', '.EX', ...lines.map(text), '.EE']
}

export function page(parts: readonly string[]): string {
  return `${['.\\" Made from the commands by src/cli/documentation; changes belong there.', ...parts].join('\n')}\n`
}

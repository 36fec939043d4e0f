/** The first or second line of every file that `engine install` lays down: only such a file is replaced or removed. */
export const MARK = '# Made by "vmcache engine install", which replaces it: put changes into a drop-in.'

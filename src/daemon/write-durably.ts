import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Replaces a small file at once and for good: a power cut leaves the old or the new text, never a part. */
export async function writeDurably(path: string, text: string): Promise<void> {
  const part = `${path}.new`
  const file = await open(part, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(part, path)
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

// A folder of pictures: a new one appears whole or not at all, as a temporary folder that is renamed when all its files are on disk; one that is there gets
// new content.

import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { once, writeChunks } from './atomic-file.js'
import { diskError, entryAt, removeDeadTemporaries, syncFolder, temporaryName } from './disk.js'
import { claimFolder, replaceContent } from './folder.js'

type IsMember = (name: string) => boolean

const claim = (path: string, isMember: IsMember): Promise<string> => claimFolder(path, { what: 'one of numbered pictures alone', stranger: (_folder, names) => names.find((name) => !isMember(name)) })

/** Says before the work that a folder of files could not be written. Leaves nothing. */
export async function checkFolderOfFiles(path: string, isMember: IsMember): Promise<void> {
  await claim(path, isMember)
}

/** Writes a folder of files. One that is there already is replaced only if it holds nothing but files with names that `isMember` knows. */
export async function writeFolderAtomically(path: string, files: AsyncIterable<{ name: string; bytes: Uint8Array }>, isMember: IsMember, signal?: AbortSignal): Promise<void> {
  const write = async (temporary: string): Promise<void> => {
    for await (const { name, bytes } of files) {
      signal?.throwIfAborted()
      await writeChunks(join(temporary, name), once(bytes), signal)
    }
    signal?.throwIfAborted()
  }
  let temporary: string | undefined
  try {
    signal?.throwIfAborted()
    const folder = await claim(path, isMember)
    if ((await entryAt(folder)) !== undefined) return await replaceContent(folder, { write, isMember })
    await removeDeadTemporaries(folder)
    temporary = temporaryName(folder)
    await mkdir(temporary)
    await write(temporary)
    await syncFolder(temporary)
    await rename(temporary, folder)
    await syncFolder(dirname(folder))
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
    throw diskError(error, path)
  }
}

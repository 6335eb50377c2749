// Folders are made one by one, and whatever the system says about a place, an answer comes.
import { mkdir, mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeFolder, makeFolders } from '../../lib/files/disk.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-folders-'))
})
afterAll(() => rm(folder, { recursive: true }))

test('the first new one is told, and nothing where all are there', async () => {
  expect(await makeFolders(join(folder, 'a', 'b', 'c'))).toBe(join(folder, 'a'))
  expect((await stat(join(folder, 'a', 'b', 'c'))).isDirectory()).toBe(true)
  expect(await makeFolders(join(folder, 'a', 'b', 'd'))).toBe(join(folder, 'a', 'b', 'd'))
  expect(await makeFolders(join(folder, 'a', 'b', 'd'))).toBeUndefined()
  await symlink(join(folder, 'a'), join(folder, 'link'))
  expect(await makeFolders(join(folder, 'link', 'b'))).toBeUndefined()
  // Several at once.
  await Promise.all(Array.from({ length: 8 }, () => makeFolders(join(folder, 'many', 'of', 'them'))))
  expect((await stat(join(folder, 'many', 'of', 'them'))).isDirectory()).toBe(true)
})

test('a file in the way, and a link that leads nowhere, are errors', async () => {
  await writeFile(join(folder, 'file'), '')
  await expect(makeFolders(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' })
  await expect(makeFolders(join(folder, 'file', 'below'))).rejects.toMatchObject({ code: 'ENOTDIR' })
  await symlink(join(folder, 'nowhere'), join(folder, 'dangling'))
  await expect(makeFolders(join(folder, 'dangling', 'below'))).rejects.toMatchObject({ code: 'ENOENT' })
})

test.runIf(process.platform === 'linux')('it ends where the system makes none (/proc)', async () => {
  await expect(makeFolders('/proc/vin-native/below')).rejects.toMatchObject({ code: expect.stringMatching(/^(ENOENT|EACCES|EPERM|EROFS)$/) as string })
})

test('what was made goes again while it is empty', async () => {
  await mkdir(join(folder, 'kept'))
  const undo = await makeFolder(join(folder, 'kept', 'x', 'y'))
  await undo()
  await expect(stat(join(folder, 'kept', 'x'))).rejects.toMatchObject({ code: 'ENOENT' })
  expect((await stat(join(folder, 'kept'))).isDirectory()).toBe(true)
  const stay = await makeFolder(join(folder, 'kept', 'x', 'y'))
  await writeFile(join(folder, 'kept', 'x', 'file'), '')
  await stay()
  expect((await stat(join(folder, 'kept', 'x', 'file'))).isFile()).toBe(true)
})

// Files and picture folders as outputs: links are followed, mount points stay, what is not ours is refused, what fails leaves the old whole.
import { spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { checkFile, writeFileAtomically } from '../../lib/files/atomic-file.js'
import { placeOf, temporaryName } from '../../lib/files/disk.js'
import { syntheticVideo } from '../video/support.js'
import { hashOf, mount, mountSmall, useFolder } from './support.js'

const at = useFolder()
const disk = (reason: string, text: string | RegExp) => ({ code: 'ERR_VIN_DISK', details: { reason }, message: expect.stringMatching(text) as string })

test('a path means where its links lead, also to what is still to be made', async () => {
  mkdirSync(at('real'))
  symlinkSync('real', at('link'))
  symlinkSync('link/new/deep', at('dangling'))
  symlinkSync('circle', at('circle'))
  expect(await placeOf(at('link', 'a', 'b'))).toBe(at('real', 'a', 'b'))
  expect(await placeOf(at('dangling', 'c'))).toBe(at('real', 'new', 'deep', 'c'))
  await expect(placeOf(at('circle'))).rejects.toMatchObject({ code: 'ELOOP' })
})

describe('a file', () => {
  test.each(['gif', 'safetensors'])('saved to a link replaces what the link names: .%s', async (extension) => {
    mkdirSync(at('real'))
    writeFileSync(at('real', `film.${extension}`), 'before')
    symlinkSync(`real/film.${extension}`, at(`out.${extension}`))
    symlinkSync(`real/new.${extension}`, at(`new.${extension}`))
    const video = syntheticVideo({ numFrames: 2 })
    for (const name of ['out', 'new']) await video.save(at(`${name}.${extension}`))
    const bytes = await video.toBuffer(extension)
    for (const name of ['film', 'new']) expect(readFileSync(at('real', `${name}.${extension}`)).equals(bytes)).toBe(true)
    for (const name of ['out', 'new']) expect(lstatSync(at(`${name}.${extension}`)).isSymbolicLink()).toBe(true)
    expect(readdirSync(at()).sort()).toEqual([`new.${extension}`, `out.${extension}`, 'real'])
  })

  test('does not take the place of a folder or a device, and says so before the work', async () => {
    mkdirSync(at('out.gif'))
    symlinkSync('/dev/null', at('null.gif'))
    let drawn = 0
    const video = syntheticVideo({ before: () => void drawn++ })
    for (const [name, reason, text] of [['out.gif', 'EISDIR', 'but it is a folder'], ['null.gif', 'EEXIST', 'but it is no file']] as const) {
      await expect(checkFile(at(name))).rejects.toMatchObject(disk(reason, text))
      await expect(video.save(at(name))).rejects.toMatchObject(disk(reason, text))
    }
    expect(drawn).toBe(0)
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true)
    expect(readdirSync(at()).sort()).toEqual(['null.gif', 'out.gif'])
  })

  test('goes to a folder that is there and can be written, which is tried beforehand', async (context) => {
    await expect(checkFile(at('no', 'out.gif'))).rejects.toMatchObject(disk('ENOENT', 'does not exist; make it first'))
    writeFileSync(at('file'), '')
    await expect(checkFile(at('file', 'out.gif'))).rejects.toMatchObject(disk('ENOTDIR', 'its folder is a file'))
    await checkFile(at('out.gif'))
    expect(readdirSync(at())).toEqual(['file'])
    mkdirSync(at('closed'))
    mount(context, at('closed'), '-t', 'tmpfs', '-o', 'ro', 'tmpfs')
    await expect(checkFile(at('closed', 'out.gif'))).rejects.toMatchObject(disk('EROFS', 'read-only'))
  })

  test('a killed writer’s temporary file goes at the next write, a living one’s stays', async () => {
    const path = at('out.bin')
    const module = join(import.meta.dirname, '../../dist/esm/files/disk.js')
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', `import { temporaryName } from ${JSON.stringify(module)}; console.log(temporaryName(${JSON.stringify(path)}))`], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
    const [dead, living, strange] = [stdout.trim(), temporaryName(path), at('.out.bin.mine.tmp')]
    for (const file of [dead, living, strange]) writeFileSync(file, 'half')
    await writeFileAtomically(path, (async function* () { yield Uint8Array.of(1) })())
    expect(readdirSync(at()).map((name) => at(name)).sort()).toEqual([living, strange, path].sort())
  })

  test('on a full disk is ERR_VIN_DISK and the file of before stays', async (context) => {
    mkdirSync(at('small'))
    mountSmall(context, at('small'), 65_536)
    const video = syntheticVideo({ numFrames: 24, width: 128, height: 128 })
    for (const extension of ['mp4', 'y4m', 'safetensors']) writeFileSync(at('small', `out.${extension}`), 'before')
    const before = hashOf(at('small'))
    writeFileSync(at('small', 'filler'), '')
    expect(() => writeFileSync(at('small', 'filler'), Buffer.alloc(1 << 20))).toThrow('ENOSPC')
    for (const extension of ['mp4', 'y4m', 'safetensors']) await expect(video.save(at('small', `out.${extension}`))).rejects.toMatchObject(disk('ENOSPC', 'the disk is full'))
    rmSync(at('small', 'filler'))
    expect(hashOf(at('small'))).toBe(before)
  })
})

describe('a folder of pictures', () => {
  const names = (count: number) => Array.from({ length: count }, (_, i) => `${String(i).padStart(6, '0')}.png`)
  const save = (numFrames: number, path: string) => syntheticVideo({ numFrames }).save(at(path))

  test('stays a link and a mount point, and holds the new pictures alone', async (context) => {
    mkdirSync(at('real'))
    symlinkSync('real', at('out'))
    for (const count of [3, 2]) {
      await save(count, 'out.png')
      expect(readdirSync(at('real'))).toEqual(names(count))
    }
    expect(lstatSync(at('out')).isSymbolicLink()).toBe(true)
    mkdirSync(at('volume'))
    mount(context, at('volume'), '-t', 'tmpfs', 'tmpfs')
    const { dev } = lstatSync(at('volume'))
    for (const count of [3, 2]) {
      await save(count, 'volume.png')
      expect(readdirSync(at('volume'))).toEqual(names(count))
    }
    expect(lstatSync(at('volume')).dev).toBe(dev)
  })

  test('that holds something else is refused by its name, before the first frame', async () => {
    await save(2, 'out.png')
    writeFileSync(at('out', 'notes.txt'), 'mine')
    const before = hashOf(at())
    let drawn = 0
    await expect(syntheticVideo({ before: () => void drawn++ }).save(at('out.png'))).rejects.toMatchObject(disk('EEXIST', /out but it holds notes\.txt; choose another folder$/))
    writeFileSync(at('plain'), '')
    await expect(save(2, 'plain.png')).rejects.toMatchObject(disk('ENOTDIR', 'is no folder'))
    rmSync(at('plain'))
    expect(drawn).toBe(0)
    expect(hashOf(at())).toBe(before)
  })

  for (const kind of ['new', 'old']) {
    test(`on a full disk is ERR_VIN_DISK and changes nothing: ${kind === 'new' ? 'a new one' : 'one of before'}`, async (context) => {
      mkdirSync(at('small'))
      mountSmall(context, at('small'), 65_536)
      if (kind === 'old') await save(2, 'small/out.png')
      const before = hashOf(at('small'))
      const noise = syntheticVideo({ numFrames: 24, width: 128, height: 128, pixel: (x, y, c, frame) => 255 * Math.abs(Math.sin(1e4 * Math.sin(x + 128 * y + 16_384 * c + frame))) })
      await expect(noise.save(at('small', 'out.png'))).rejects.toMatchObject(disk('ENOSPC', 'the disk is full'))
      expect(hashOf(at('small'))).toBe(before)
    })
  }
})

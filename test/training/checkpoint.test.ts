import { lstat, mkdir, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { VinError } from '../../lib/index.js'
import { readState, replaceCheckpoint, settleCheckpoint } from '../../lib/training/checkpoint.js'
import type { CheckpointKind } from '../../lib/training/checkpoint.js'
import { killedAfter } from '../files/killed.js'
import { mount, useFolder } from '../files/support.js'

const at = useFolder()
let folder: string
beforeEach(async () => void (await mkdir((folder = at('checkpoints')))))

const place = () => join(folder, 'run')
const state = (step: number) => ({ step })
const kind: CheckpointKind = { kind: 'test', files: /^(weights|training\/state\.json)$/, replacesModel: false }
const save = (step: number) => replaceCheckpoint(place(), state(step), kind, (temporary) => writeFile(join(temporary, 'weights'), `weights of ${step}`))
const load = async () => {
  const { step } = await readState(place(), 'test')
  expect(await readFile(join(place(), 'weights'), 'utf8')).toBe(`weights of ${String(step)}`)
  return step
}

test('a checkpoint replaces the one before it, and nothing is left beside it', async () => {
  for (const step of [1, 2, 3]) {
    await save(step)
    expect(await load()).toBe(step)
    expect(await readdir(folder)).toEqual(['run'])
  }
})

/** Kills a save of step 2 over one of step 1 after each of its operations, and looks at what the next one to open finds. */
async function killEverywhere(prepare: (at: string) => Promise<void>, look: () => Promise<unknown>): Promise<number[]> {
  const found: number[] = []
  for (let after = 0; ; after++) {
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder)
    await prepare(place())
    await save(1)
    const ended = await killedAfter(after, () => save(2))
    found.push((await load()) as number)
    await look()
    await save(7)
    expect(await load()).toBe(7)
    await look()
    if (ended) return found
  }
}

test('killed between any two operations, the old or the new checkpoint is there and matches its weights', async () => {
  const found = await killEverywhere(async () => {}, async () => expect(await readdir(folder)).toEqual(['run']))
  // Before the one rename that counts it is the old one, from there on the new one.
  expect(found.length).toBeGreaterThanOrEqual(20)
  expect(found).toEqual([...found].sort())
  expect(new Set(found)).toEqual(new Set([1, 2]))
})

test('the same where the folder is a link, which stays one', async () => {
  const found = await killEverywhere(
    async (at) => {
      await mkdir(`${at}-real`)
      await symlink(`${at}-real`, at)
    },
    async () => {
      expect((await lstat(place())).isSymbolicLink()).toBe(true)
      expect(await readdir(folder)).toEqual(['run', 'run-real'])
    }
  )
  expect(new Set(found)).toEqual(new Set([1, 2]))
})

test('the same where the folder is a mount point, which stays one', async (context) => {
  await mkdir(place())
  mount(context, place(), '-t', 'tmpfs', 'tmpfs')
  const { dev } = await lstat(place())
  for (let after = 0, ended = false; !ended; after++) {
    await save(1)
    ended = await killedAfter(after, () => save(2))
    expect([1, 2]).toContain(await load())
    expect((await lstat(place())).dev).toBe(dev)
  }
  await save(7)
  // What was begun waits for the end of its process, which is this one.
  expect((await readdir(place())).filter((name) => !/^\.vin(-next-|\.)/.test(name)).sort()).toEqual(['training', 'weights'])
})

test('other files in the folder stay, and a file that the new checkpoint lacks goes', async () => {
  const files = /^(weights|old\/model|training\/state\.json)$/
  const write = (names: string[]) => replaceCheckpoint(place(), state(1), { ...kind, files }, async (temporary) => {
    for (const name of names) {
      await mkdir(join(temporary, name, '..'), { recursive: true })
      await writeFile(join(temporary, name), name)
    }
  })
  await write(['weights', 'old/model'])
  for (const name of ['notes.txt', 'training/curve.csv']) await writeFile(join(place(), name), 'mine')
  await mkdir(join(folder, 'elsewhere'))
  await symlink(join(folder, 'elsewhere'), join(place(), 'linked'))
  await write(['weights', 'linked/model'])
  expect((await readdir(place(), { recursive: true })).sort()).toEqual(['linked', 'linked/model', 'notes.txt', 'training', 'training/curve.csv', 'training/state.json', 'weights'])
  // What a link in the folder leads to is not ours.
  expect(await readdir(join(folder, 'elsewhere'))).toEqual([])
  await rm(join(place(), 'weights'))
  await mkdir(join(place(), 'weights'))
  await expect(write(['weights'])).rejects.toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'EISDIR' } })
  expect(await readdir(place())).not.toContainEqual(expect.stringContaining('.vin'))
})

test('a checkpoint whose writing was killed is opened only where it can be completed', async (context) => {
  await save(1)
  // The rename that counts is the last operation but those that clean up: found by trying.
  for (let after = 0; (await readdir(place())).every((name) => !name.startsWith('.vin-ready-')); after++) await killedAfter(after, () => save(2))
  mount(context, place(), '-o', 'bind,ro', place())
  await expect(readState(place(), 'test')).rejects.toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'EROFS' }, message: expect.stringContaining('open the folder once where it may be written') as string })
})

test('a save that fails leaves the old checkpoint', async () => {
  await save(1)
  await expect(replaceCheckpoint(place(), state(2), kind, () => Promise.reject(new Error('full')))).rejects.toThrow('full')
  expect(await load()).toBe(1)
  expect((await readdir(place())).sort()).toEqual(['training', 'weights'])
})

test('no checkpoint, another kind and another version are named', async () => {
  expect(await settleCheckpoint(place())).toBe(false)
  const error = (kind: string) => readState(place(), kind).then(() => undefined, (reason: unknown) => reason as VinError)
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  await save(1)
  expect(await error('other')).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'kind', expected: 'other', found: 'test' } })
  await writeFile(join(place(), 'training', 'state.json'), JSON.stringify({ kind: 'test', version: 99 }))
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'version', found: 99 } })
  await writeFile(join(place(), 'training', 'state.json'), '{"kind": "te')
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_FORMAT' })
})

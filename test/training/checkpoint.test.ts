import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { VinError } from '../../lib/index.js'
import { readState, replaceCheckpoint, settleCheckpoint, STATE_VERSION } from '../../lib/training/checkpoint.js'

let folder: string
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'checkpoint-'))))
afterEach(() => rm(folder, { recursive: true, force: true }))

const place = () => join(folder, 'run')
const state = (step: number) => ({ kind: 'test', version: STATE_VERSION, step })
const save = (step: number) => replaceCheckpoint(place(), state(step), (temporary) => writeFile(join(temporary, 'weights'), `weights of ${step}`))
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

test('killed between any two operations, the old or the new checkpoint is there and matches its weights', async () => {
  // The state of the disk after each operation of replaceCheckpoint, made by hand: a process may end after any of them.
  const old = join(folder, 'old')
  const fresh = join(folder, 'fresh')
  await save(1)
  await cp(place(), old, { recursive: true })
  await save(2)
  await cp(place(), fresh, { recursive: true })
  const half = async (to: string) => {
    await mkdir(join(to, 'training'), { recursive: true })
    await writeFile(join(to, 'weights'), 'weights of')
  }
  const moments: [string, number, () => Promise<void>][] = [
    ['nothing written yet', 1, async () => void (await cp(old, place(), { recursive: true }))],
    ['weights half written', 1, async () => {
      await cp(old, place(), { recursive: true })
      await half(`${place()}.next`)
    }],
    ['new one complete, not in place', 1, async () => {
      await cp(old, place(), { recursive: true })
      await cp(fresh, `${place()}.next`, { recursive: true })
    }],
    ['old one moved away', 2, async () => {
      await cp(old, `${place()}.previous`, { recursive: true })
      await cp(fresh, `${place()}.next`, { recursive: true })
    }],
    ['new one in place, old one not removed', 2, async () => {
      await cp(old, `${place()}.previous`, { recursive: true })
      await cp(fresh, place(), { recursive: true })
    }],
    ['first checkpoint ever half written, then an old one by hand', 1, async () => {
      await half(`${place()}.next`)
      await cp(old, `${place()}.previous`, { recursive: true })
    }]
  ]
  for (const [moment, step, make] of moments) {
    for (const name of ['run', 'run.next', 'run.previous']) await rm(join(folder, name), { recursive: true, force: true })
    await make()
    expect(await load(), moment).toBe(step)
    await save(7)
    expect(await load(), moment).toBe(7)
    expect((await readdir(folder)).sort(), moment).toEqual(['fresh', 'old', 'run'])
  }
})

test('a save that fails leaves the old checkpoint', async () => {
  await save(1)
  await expect(replaceCheckpoint(place(), state(2), () => Promise.reject(new Error('full')))).rejects.toThrow('full')
  expect(await load()).toBe(1)
})

test('no checkpoint, another kind and another version are named', async () => {
  expect(await settleCheckpoint(place())).toBe(false)
  const error = (kind: string) => readState(place(), kind).then(() => undefined, (reason: unknown) => reason as VinError)
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_MISSING_COMPONENT' })
  await save(1)
  expect(await error('other')).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'kind', expected: 'other', found: 'test' } })
  await writeFile(join(place(), 'training', 'state.json'), JSON.stringify({ ...state(1), version: 99 }))
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_RESUME_MISMATCH', details: { field: 'version', found: 99 } })
  await writeFile(join(place(), 'training', 'state.json'), '{"kind": "te')
  expect(await error('test')).toMatchObject({ code: 'ERR_VIN_FORMAT' })
  await rename(place(), `${place()}.next`)
  expect(await settleCheckpoint(place())).toBe(true)
  expect(existsSync(place())).toBe(true)
})

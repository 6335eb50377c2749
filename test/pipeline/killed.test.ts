// SIGKILL at any moment: a run with `resume` that is started again ends in the bits of one that was never stopped.
import { mkdir, mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { GenerateOptions } from '../../lib/index.js'
import { answerOf, randomOf, startProgram, writeTinyModel } from '../guest/support.js'

// Every stop is a process of its own, on machines that may be busy.
vi.setConfig({ testTimeout: 300_000 })

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vin-killed-'))
  await writeTinyModel(join(folder, 'model'))
  // Schedulers of another target need a model that learnt it.
  await writeTinyModel(join(folder, 'epsilon'), 'DDIMScheduler')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** What a state's file goes through; at `inside` its temporary file is on disk. 'afterwards': the run goes on for some milliseconds before it is killed. */
const inside = ['opened', 'half written', 'written', 'synced']
const moments = [...inside, 'renamed', 'afterwards']

interface Stop {
  file: string
  moment: string
  /** Milliseconds from there. */
  later: number
}

/** Runs until the moment, kills, and returns what lies in the folder then. */
async function killAt(config: object, states: string, stop: Stop): Promise<string[]> {
  const { child, ended } = startProgram('sample.mjs', { ...config, stop })
  child.once('message', () => setTimeout(() => child.kill('SIGKILL'), stop.later))
  const { signal, stderr } = await ended
  expect(signal, stderr).toBe('SIGKILL')
  return readdir(states)
}

const stateFile = (steps: number): string => `state-${String(steps).padStart(6, '0')}.safetensors`
const temporary = (names: string[]): string[] => names.filter((name) => name.endsWith('.tmp'))

describe('killed at 20 moments', () => {
  const random = randomOf(20)
  const stops = 5
  const numInferenceSteps = 12
  let killed = 0
  let insideWrite = 0

  test.each<[string, GenerateOptions, number]>([
    ['flow match', {}, 1],
    ['DPM-Solver++, which carries the last x0', { scheduler: 'DPMSolverMultistepScheduler' }, 1],
    ['autoregressive', { method: 'autoregressive' }, 2],
    ['DDIM, all frames in one chunk, one evaluation a step', { method: 'full', scheduler: 'DDIMScheduler', guidanceScale: 1 }, 1]
  ])('%s: five times in one run', async (name, extra, passes) => {
    const own = join(folder, name.replace(/\W+/g, '-'))
    const states = join(own, 'states')
    await mkdir(own)
    const options: GenerateOptions = { prompt: 'a red circle bounces', numFrames: 64, seed: 3, numInferenceSteps, ...extra }
    const files = (run: string) => ({ latents: join(own, `${run}.f32`), output: join(own, `${run}.mp4`) })
    const config = { model: join(folder, extra.scheduler === undefined ? 'model' : 'epsilon'), options: { ...options, resume: states }, ...files('resumed') }
    const total = passes * numInferenceSteps
    const whole = await answerOf<{ steps: number }>('sample.mjs', { ...config, options, ...files('whole') })
    expect(whole.steps).toBe(total)

    // One stop in each fifth of the run, so that every start goes on from what the one before it left.
    let saved = 0
    for (let i = 0; i < stops; i++) {
      // 'afterwards' may have gone past the next moment.
      const step = Math.max(saved + 1, 1 + Math.floor(((i + random()) * (total - 1)) / stops))
      const moment = moments[Math.floor(random() * moments.length)] as string
      const later = moment === 'afterwards' ? Math.floor(random() * 20) : 0
      const names = await killAt(config, states, { file: stateFile(step), moment, later })
      killed++
      if (inside.includes(moment)) {
        const left = temporary(names)
        expect(left).toEqual([expect.stringContaining(`.${stateFile(step)}.`)])
        insideWrite += left.length
      }
      saved = Math.max(0, ...names.filter((file) => file.startsWith('state-')).map((file) => Number(file.slice(6, 12))))
      expect(saved).toBeGreaterThanOrEqual(inside.includes(moment) ? step - 1 : step)
      if (moment === 'renamed') expect(names).toContain(stateFile(step))
      expect(names).not.toContain('resumed.mp4')
    }

    const { steps } = await answerOf<{ steps: number }>('sample.mjs', config)
    expect(steps).toBeLessThanOrEqual(total - saved)
    for (const file of ['f32', 'mp4']) expect((await readFile(join(own, `resumed.${file}`))).equals(await readFile(join(own, `whole.${file}`))), `bytes of .${file}`).toBe(true)
    expect(await readdir(states)).toEqual([stateFile(total - 1), stateFile(total)])
  })

  test('at least five of them inside a write, as the temporary files on disk show', () => {
    expect(killed).toBe(20)
    expect(insideWrite).toBeGreaterThanOrEqual(5)
  })
})

test('killed while the .mp4 is written: nothing at its path, and the next start takes the finished latents', async () => {
  const own = join(folder, 'encode')
  await mkdir(own)
  const config = {
    model: join(folder, 'model'),
    options: { prompt: 'a red circle bounces', numFrames: 32, seed: 3, resume: join(own, 'states') } satisfies GenerateOptions,
    latents: join(own, 'latents.f32'),
    output: join(own, 'out.mp4')
  }
  const names = await killAt(config, own, { file: 'out.mp4', moment: 'half written', later: 0 })
  expect(names).not.toContain('out.mp4')
  expect(temporary(names)).toEqual([expect.stringContaining('.out.mp4.')])
  const before = await readFile(config.latents)
  expect(await answerOf('sample.mjs', config)).toEqual({ steps: 0 })
  expect((await readFile(config.latents)).equals(before)).toBe(true)
  await answerOf('sample.mjs', { ...config, options: { ...config.options, resume: undefined }, output: join(own, 'whole.mp4') })
  expect((await readFile(config.output)).equals(await readFile(join(own, 'whole.mp4')))).toBe(true)
})

// Against diffusers (fixtures/schedulers/make.py): timesteps of every n, and every config that it saves.
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { DDIMScheduler, DPMSolverMultistepScheduler } from '../../lib/index.js'
import type { Scheduler, TensorData } from '../../lib/index.js'
import { diffusersKeys } from '../../lib/schedulers/foreign-keys.js'
import { createScheduler } from '../../lib/schedulers/index.js'
import { fixture, named, readJson, readTensors } from '../support/fixtures.js'

const folder = mkdtempSync(join(tmpdir(), 'vin-schedulers-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** As Python writes it. */
const pythonJson = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === 'number' && !Number.isFinite(item) ? `@${item}` : item)).replaceAll(/"@(NaN|-?Infinity)"/g, '$1')

/** JSON with Python's words. */
const fromPython = (text: string): unknown => JSON.parse(text.replaceAll(/: -Infinity/g, ': "-Infinity"'), (_key, item: unknown) => (item === '-Infinity' ? -Infinity : item))

interface TimestepLists {
  class: 'DDIMScheduler' | 'DPMSolverMultistepScheduler'
  spacing: string
  train: number
  refused: number[]
  sha256: string
  clear: Record<string, string>
}
const { lists } = readJson('schedulers', 'timesteps.json') as unknown as { lists: TimestepLists[] }

test.each(lists)('$class, $spacing, $train: the timesteps of every n', ({ class: className, spacing, train, refused, sha256, clear }) => {
  const scheduler = createScheduler({ _class_name: className, timestep_spacing: spacing, num_train_timesteps: train })
  const timesteps = (n: number): string => {
    scheduler.setTimesteps(n)
    return scheduler.timesteps.join(' ')
  }
  for (const [n, list] of Object.entries(clear)) expect(timesteps(Number(n)), n).toBe(list)
  const hash = createHash('sha256')
  for (let n = 1; n <= train; n++) {
    if (refused.includes(n)) expect(() => timesteps(n)).toThrow(RangeError)
    else hash.update(`${n}: ${timesteps(n)}\n`)
  }
  expect(hash.digest('hex')).toBe(sha256)
})

interface Entry {
  key: string
  changed: Record<string, unknown>
  run: number | null
}
interface Sweep extends Record<'DDIMScheduler' | 'DPMSolverMultistepScheduler' | 'FlowMatchEulerDiscreteScheduler', Entry[]> {
  steps: number[]
  start: number[]
}
const sweep = fromPython(readFileSync(fixture('schedulers', 'sweep.json'), 'utf8')) as Sweep
const runs = named(readTensors('schedulers', 'sweep.safetensors'), 'runs')
const length = runs.shape[1] as number

/** Every sample of both runs. */
async function runOf(scheduler: Scheduler): Promise<number[]> {
  const found: number[] = []
  for (const n of sweep.steps) {
    scheduler.setTimesteps(n)
    let x: TensorData = { data: Float32Array.from(sweep.start), shape: [sweep.start.length] }
    for (const [i, t] of scheduler.timesteps.entries()) {
      x = await scheduler.step({ data: x.data.map((value) => 0.9 * value + 0.1 * Math.cos(i)), shape: x.shape }, t, x)
      found.push(...x.data)
    }
  }
  return found
}

// How many load: a config that is refused without need would lower it.
describe.each([
  ['DDIMScheduler', { saved: 128, loaded: 100 }],
  ['DPMSolverMultistepScheduler', { saved: 260, loaded: 176 }],
  ['FlowMatchEulerDiscreteScheduler', { saved: 31, loaded: 24 }]
] as const)('what diffusers saves for %s', (className, counts) => {
  const defaults = fromPython(readFileSync(fixture('schedulers', `saved.${className}.json`), 'utf8')) as object

  test('loads and samples the same, or is refused by key', async () => {
    const entries = sweep[className]
    let loaded = 0
    for (const [i, { key, changed, run }] of entries.entries()) {
      const file = join(folder, `${className}-${i}.json`)
      writeFileSync(file, pythonJson({ ...defaults, ...changed }))
      const what = `${key} of ${JSON.stringify(changed)}`
      let scheduler
      try {
        scheduler = createScheduler(file)
      } catch (error) {
        expect(error, what).toMatchObject({ code: 'ERR_VIN_NOT_SUPPORTED', details: { name: key }, message: expect.stringContaining(`for ${key} of ${className}`) as string })
        continue
      }
      loaded++
      const wanted = Array.from(runs.data.subarray((run as number) * length, ((run as number) + 1) * length))
      const found = await runOf(scheduler)
      found.forEach((value, j) => expect(Math.abs(value - (wanted[j] as number)), `${what}, value ${j}`).toBeLessThanOrEqual(1e-5 * Math.max(1, Math.abs(wanted[j] as number))))
    }
    expect({ saved: entries.length, loaded }).toEqual(counts)
  })
})

test('keys of other schedulers are left alone, others are refused', () => {
  expect([...diffusersKeys].sort().join(' ')).toBe(readJson('schedulers', 'keys.json')['keys'])
  const scheduler = createScheduler({ _class_name: 'DPMSolverMultistepScheduler', skip_prk_steps: true, set_alpha_to_one: false, clip_sample: true })
  expect(scheduler.config).toMatchObject({ skip_prk_steps: true, set_alpha_to_one: false })
  expect(() => createScheduler({ _class_name: 'DPMSolverMultistepScheduler', skip_prk_step: true })).toThrow(expect.objectContaining({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('skip_prk_step') as string }))
})

test('names of the solvers of other schedulers mean those that diffusers puts for them', async () => {
  const run = (config: object): Promise<number[]> => runOf(createScheduler({ _class_name: 'DPMSolverMultistepScheduler', ...config }))
  const wanted = await run({})
  for (const config of [{ algorithm_type: 'deis' }, { solver_type: 'logrho' }, { solver_type: 'bh1' }, { solver_type: 'bh2' }]) expect(await run(config), JSON.stringify(config)).toEqual(wanted)
})

describe('what a file does not say', () => {
  const write = (config: unknown): string => {
    const place = mkdtempSync(join(folder, 'config-'))
    writeFileSync(join(place, 'scheduler_config.json'), pythonJson(config))
    return place
  }

  test('is what diffusers takes: DDIM clips, which is refused with what to write', () => {
    const silent = expect.objectContaining({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining('write "clip_sample": false') as string })
    for (const place of [write({ _class_name: 'DDIMScheduler' }), write({})]) {
      expect(() => createScheduler(place)).toThrow(silent)
      expect(() => DDIMScheduler.fromConfig(join(place, 'scheduler_config.json'))).toThrow(silent)
    }
    expect(createScheduler(write({ _class_name: 'DDIMScheduler', clip_sample: false })).config).toMatchObject({ clip_sample: false, timestep_spacing: 'leading' })
  })

  test('is what Open-Sora takes: no timestep transform', () => {
    const scheduler = createScheduler(write({ _class_name: 'RFlowScheduler' }))
    scheduler.setTimesteps(4)
    expect(scheduler.timesteps).toEqual([1000, 750, 500, 250])
  })

  test('class names and objects keep clip_sample false and the timestep transform', () => {
    for (const option of ['DDIMScheduler', { _class_name: 'DDIMScheduler' }] as const) expect(createScheduler(option).config).toMatchObject({ clip_sample: false })
    for (const option of ['RFlowScheduler', { _class_name: 'RFlowScheduler' }] as const) expect(createScheduler(option).config).toMatchObject({ use_timestep_transform: true })
  })
})

test('-Infinity is read, and what a scheduler keeps can be written as JSON and read again', () => {
  const path = fixture('schedulers', 'saved.DPMSolverMultistepScheduler.json')
  expect(readFileSync(path, 'utf8')).toContain('"lambda_min_clipped": -Infinity')
  const { config } = DPMSolverMultistepScheduler.fromConfig(path)
  expect(createScheduler(JSON.parse(JSON.stringify(config)) as Record<string, unknown>).config).toEqual(config)
})

test('a scheduler that is none is answered with those that there are', () => {
  for (const name of ['DDIM', 'ddim', 'EulerScheduler', '', 'x'.repeat(5000)]) {
    expect(() => createScheduler(name), name).toThrow(expect.objectContaining({ name: 'RangeError', message: expect.stringContaining('Expected one of DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler for scheduler but') as string }))
  }
  expect(() => createScheduler('./nowhere.json')).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT', message: expect.stringContaining('there is no such file') as string }))
  expect(() => createScheduler(`./${'x'.repeat(5000)}`)).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT' }))
  expect(() => createScheduler('./no\0where')).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT' }))
  expect(() => createScheduler(folder)).toThrow(expect.objectContaining({ code: 'ERR_VIN_MISSING_COMPONENT' }))
})

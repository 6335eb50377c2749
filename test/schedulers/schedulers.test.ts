// Whole runs against diffusers: model_output = 0.9·x + 0.1·cos(i).
import { describe, expect, test } from 'vitest'
import { DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler } from '../../lib/index.js'
import type { TensorData } from '../../lib/index.js'
import { createScheduler } from '../../lib/schedulers/index.js'
import { compare, fixture, named, readJson, readTensors } from '../support/fixtures.js'

const golden = readTensors('schedulers', 'schedulers.safetensors')

const runs = [
  { file: 'ddim_50', n: 50 },
  { file: 'ddim_17_trailing', n: 17 },
  { file: 'dpmpp_2m_20', n: 20 },
  { file: 'flow_30_shift3', n: 30 }
]

describe.each(runs)('$file', ({ file, n }) => {
  const scheduler = createScheduler(readJson('schedulers', `${file}.scheduler.json`))

  test('timesteps are those of diffusers', () => {
    scheduler.setTimesteps(n)
    const wanted = named(golden, `${file}.timesteps`).data
    expect(scheduler.timesteps).toHaveLength(wanted.length)
    scheduler.timesteps.forEach((t, i) => expect(Math.abs(t - (wanted[i] as number))).toBeLessThanOrEqual(1e-5 * Math.max(1, wanted[i] as number)))
  })

  test('the whole run ends where diffusers ends', async () => {
    scheduler.setTimesteps(n)
    let sample = named(golden, 'start')
    for (const [i, t] of scheduler.timesteps.entries()) {
      const output: TensorData = { data: sample.data.map((x) => 0.9 * x + 0.1 * Math.cos(i)), shape: sample.shape }
      sample = await scheduler.step(output, t, sample)
    }
    expect(compare(sample, named(golden, `${file}.result`)).difference).toBeLessThanOrEqual(1e-5)
  })
})

const scalar = (value: number): TensorData => ({ data: Float32Array.of(value), shape: [1] })

describe('DDIM', () => {
  test('ᾱ of the linear schedule', () => {
    const scheduler = DDIMScheduler.fromConfig()
    const wanted: [number, number][] = [
      [0, 0.9999],
      [20, 0.9937354],
      [499, 0.0785872],
      [960, 8.741305e-5],
      [980, 5.903751e-5],
      [999, 4.03583e-5]
    ]
    for (const [t, alpha] of wanted) expect(scheduler.noiseTerms(t).sample ** 2 / alpha).toBeCloseTo(1, 6)
  })

  test('one step by hand, without and with fresh noise', async () => {
    const scheduler = DDIMScheduler.fromConfig({})
    scheduler.setTimesteps(50)
    const still = await scheduler.step(scalar(0.5), 980, scalar(1))
    expect(still.data[0]).toBeCloseTo(1.108403, 5)
    // σ(η = 1) = .569741; x0 = 65.07569.
    const moved = await scheduler.step(scalar(0.5), 980, scalar(1), { eta: 1, noise: scalar(1) })
    const alpha = 8.741305e-5
    expect(moved.data[0]).toBeCloseTo(Math.sqrt(alpha) * 65.07569 + Math.sqrt(1 - alpha - 0.569741 ** 2) * 0.5 + 0.569741, 4)
  })

  test('fresh noise must be given', async () => {
    const scheduler = DDIMScheduler.fromConfig({})
    scheduler.setTimesteps(50)
    await expect(scheduler.step(scalar(0.5), 980, scalar(1), { eta: 1 })).rejects.toThrow(/noise/)
  })

  test('the previous timestep is t − ⌊1000/n⌋ with linspace too', async () => {
    const scheduler = DDIMScheduler.fromConfig({ timestep_spacing: 'linspace' })
    scheduler.setTimesteps(3)
    expect(scheduler.timesteps).toEqual([999, 500, 0])
    const next = await scheduler.step(scalar(0), 999, scalar(1))
    const ratio = scheduler.noiseTerms(999 - 333).sample / scheduler.noiseTerms(999).sample
    expect((next.data[0] as number) / ratio).toBeCloseTo(1, 5)
  })
})

describe('DPM-Solver++', () => {
  test('a saved state goes on as the run did', async () => {
    const run = async (stopAt?: number): Promise<TensorData> => {
      const first = DPMSolverMultistepScheduler.fromConfig({})
      first.setTimesteps(20)
      const { timesteps } = first
      let scheduler = first
      const engine = (await import('../../lib/native/engine.js')).commonEngine().native
      let x = engine.upload(Float32Array.of(1, -2), [2])
      for (const [i, t] of timesteps.entries()) {
        if (i === stopAt) {
          const state = scheduler.state()
          scheduler = DPMSolverMultistepScheduler.fromConfig({})
          scheduler.setTimesteps(20)
          scheduler.restore(state, i, engine)
        }
        const output = engine.op('linear_combination', { y: { shape: [2] }, a: x, fa: 0.9, fb: 0, fc: 0, fd: 0 })['y']!
        x = scheduler.queueStep(engine, output, t, x)
      }
      return (await x.read()) as TensorData
    }
    expect((await run(7)).data).toEqual((await run()).data)
  })

  test('fewer than 15 steps end on a first-order step', async () => {
    const scheduler = DPMSolverMultistepScheduler.fromConfig({})
    scheduler.setTimesteps(1)
    // One step from σ to 0 with D = x0 is x0 itself.
    const { sample, noise } = scheduler.noiseTerms(999)
    const result = await scheduler.step(scalar(0.5), 999, scalar(1))
    expect((result.data[0] as number) / ((1 - noise * 0.5) / sample)).toBeCloseTo(1, 4)
  })
})

describe('flow match', () => {
  test('timesteps of 30 steps with shift 3', () => {
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({ shift: 3 })
    scheduler.setTimesteps(30)
    const { timesteps } = scheduler
    for (const [i, t] of [[0, 1000], [1, 988.2714], [2, 975.9792], [27, 188.2448], [28, 104.3228], [29, 8.9286]] as const) expect(timesteps[i]).toBeCloseTo(t, 3)
  })

  test('addNoise is the straight line, for any real time', async () => {
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
    const noisy = await scheduler.addNoise(scalar(2), scalar(-1), 250.5)
    expect(noisy.data[0]).toBeCloseTo(0.7495 * 2 - 0.2505, 6)
  })
})

describe('RFlow', () => {
  const first = (size: { height: number; width: number; latentFrames: number }): number[] => {
    const scheduler = RFlowScheduler.fromConfig({})
    scheduler.setTimesteps(30, size)
    return scheduler.timesteps
  }

  test.each([
    { size: { height: 240, width: 426, latentFrames: 15 }, head: [1000, 985.9437, 971.3155, 956.0796, 940.1974], tail: [211.8208, 147.3149, 76.9835] },
    { size: { height: 192, width: 320, latentFrames: 5 }, head: [1000, 969.1296, 938.1013, 906.9143, 875.567], tail: [107.3671, 71.7739, 35.9854] },
    { size: { height: 192, width: 320, latentFrames: 20 }, head: [1000, 984.3227, 968.0621, 951.1852, 933.6558], tail: [193.9141, 133.9347, 69.4709] },
    { size: { height: 720, width: 1280, latentFrames: 30 }, head: [1000, 996.6536, 993.0928, 989.2966, 985.2407], tail: [532.9479, 423.1514, 261.519] }
  ])('timesteps of $size', ({ size, head, tail }) => {
    const timesteps = first(size)
    expect(timesteps).toHaveLength(30)
    head.forEach((t, i) => expect(timesteps[i]).toBeCloseTo(t, 3))
    tail.forEach((t, i) => expect(timesteps[27 + i]).toBeCloseTo(t, 3))
  })

  test('the prediction x0 − ε leads from noise to data', async () => {
    const scheduler = RFlowScheduler.fromConfig({})
    const size = { height: 192, width: 320, latentFrames: 5 }
    scheduler.setTimesteps(4, size)
    let sample = scalar(-1)
    for (const t of scheduler.timesteps) sample = await scheduler.step(scalar(3 - -1), t, sample)
    expect(sample.data[0]).toBeCloseTo(3, 5)
  })

  test('the timestep transform needs the size', () => {
    expect(() => RFlowScheduler.fromConfig({}).setTimesteps(30)).toThrow(/height, width, latentFrames/)
  })
})

describe('configs', () => {
  test.each([
    ['prediction_type', { _class_name: 'DDIMScheduler', prediction_type: 'v_prediction' }],
    ['clip_sample', { _class_name: 'DDIMScheduler', clip_sample: true }],
    ['solver_order', { _class_name: 'DPMSolverMultistepScheduler', solver_order: 3 }],
    ['use_dynamic_shifting', { _class_name: 'FlowMatchEulerDiscreteScheduler', use_dynamic_shifting: true }],
    ['use_discrete_timesteps', { _class_name: 'RFlowScheduler', use_discrete_timesteps: true }],
    ['warp_factor', { _class_name: 'DDIMScheduler', warp_factor: 9 }],
    ['_class_name', { _class_name: 'EulerDiscreteScheduler' }]
  ])('%s of another kind is refused by name', (key, config) => {
    expect(() => createScheduler(config)).toThrow(expect.objectContaining({ code: 'ERR_VIN_NOT_SUPPORTED', message: expect.stringContaining(key) }))
  })

  test('a path and an object give the same scheduler', () => {
    const path = fixture('schedulers', 'flow_30_shift3.scheduler.json')
    expect(FlowMatchEulerDiscreteScheduler.fromConfig(path).config).toEqual(FlowMatchEulerDiscreteScheduler.fromConfig(readJson('schedulers', 'flow_30_shift3.scheduler.json')).config)
  })

  test('a timestep that is not one of the list is refused with the nearest', async () => {
    const scheduler = FlowMatchEulerDiscreteScheduler.fromConfig({})
    scheduler.setTimesteps(4)
    await expect(scheduler.step(scalar(0), 500, scalar(0))).rejects.toThrow(/the nearest is/)
  })
})

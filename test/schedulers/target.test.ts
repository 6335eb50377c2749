// What a folder says of the target that its weights learnt, and schedulers of another target.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { DDIMScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler, Trainer, VideoPipeline } from '../../lib/index.js'
import type { GenerateOptions, SchedulerName } from '../../lib/index.js'
import { bits, fixture, named, readTensors } from '../support/fixtures.js'
import { tinyTransformer } from '../support/models.js'

const root = mkdtempSync(join(tmpdir(), 'vin-target-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** The factorised fixture as a folder of somebody. */
function folder({ config = {}, index, scheduler, published = false }: { config?: object; index?: object; scheduler?: object; published?: boolean } = {}): string {
  const place = mkdtempSync(join(root, 'model-'))
  const backbone = published ? place : join(place, 'transformer')
  mkdirSync(backbone, { recursive: true })
  const source = fixture('vin-factorised', 'transformer')
  writeFileSync(join(backbone, 'config.json'), JSON.stringify({ ...(JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as object), ...config }))
  copyFileSync(join(source, 'diffusion_pytorch_model.safetensors'), join(backbone, published ? 'model.safetensors' : 'diffusion_pytorch_model.safetensors'))
  if (index !== undefined) writeFileSync(join(place, 'model_index.json'), JSON.stringify(index))
  if (scheduler !== undefined) {
    mkdirSync(join(place, 'scheduler'))
    writeFileSync(join(place, 'scheduler', 'scheduler_config.json'), JSON.stringify(scheduler))
  }
  return place
}

const open = (place: string): Promise<VideoPipeline> => VideoPipeline.fromPretrained(place, { device: 'cpu' })
const promptEmbeds = named(readTensors('vin-factorised', 'io.safetensors'), 'prompt_embeds')
const short: GenerateOptions = { promptEmbeds, numFrames: 17, width: 32, height: 32, numInferenceSteps: 2, seed: 1, outputType: 'latents' }

describe('a folder of model_type STDiT3', () => {
  test.each([
    ['without scheduler/', {}, { className: 'RFlowScheduler', guidanceScale: 7, numInferenceSteps: 30, transform: true }],
    ['as Open-Sora publishes it', { published: true }, { className: 'RFlowScheduler', guidanceScale: 7, numInferenceSteps: 30, transform: true }],
    ['whose model_index.json says one of the numbers', { index: { guidance_scale: 3 } }, { className: 'RFlowScheduler', guidanceScale: 3, numInferenceSteps: 30, transform: true }],
    ['with scheduler/', { scheduler: { _class_name: 'FlowMatchEulerDiscreteScheduler' } }, { className: 'FlowMatchEulerDiscreteScheduler', guidanceScale: 7, numInferenceSteps: 30, transform: undefined }]
  ])('%s', async (_name, parts, { className, guidanceScale, numInferenceSteps, transform }) => {
    await using pipeline = await open(folder({ config: { model_type: 'STDiT3' }, ...parts }))
    expect(pipeline.scheduler.className).toBe(className)
    expect(pipeline.scheduler.config['use_timestep_transform']).toBe(transform)
    expect(pipeline.defaults).toMatchObject({ guidanceScale, numInferenceSteps })
  })

  test('as a config object is sampled the same way', async () => {
    await using pipeline = await VideoPipeline.fromConfig({ transformer: { ...tinyTransformer, model_type: 'STDiT3' } }, { device: 'cpu' })
    expect(pipeline.scheduler.className).toBe('RFlowScheduler')
    expect(pipeline.defaults).toMatchObject({ guidanceScale: 7, numInferenceSteps: 30 })
  })

  test('any other one without scheduler/ is DDIM, 50 steps, guidance 4', async () => {
    await using pipeline = await open(folder())
    expect(pipeline.scheduler.className).toBe('DDIMScheduler')
    expect(pipeline.defaults).toMatchObject({ guidanceScale: 4, numInferenceSteps: 50 })
  })
})

test.each([
  ['NaN', 'NaN'],
  ['Infinity', 'an infinite number'],
  ['-Infinity', 'an infinite number']
])('%s is read in a config of a model, and refused by key', async (word, found) => {
  const place = folder({ config: { mlp_ratio: '@' } })
  const file = join(place, 'transformer', 'config.json')
  writeFileSync(file, readFileSync(file, 'utf8').replace('"@"', word))
  await expect(open(place)).rejects.toThrow(expect.objectContaining({ code: 'ERR_VIN_FORMAT', message: expect.stringContaining(`${file}: expected a number from 0.25 to 64 for mlp_ratio but found ${found}`) as string }))
})

describe('a scheduler of another target', () => {
  const flow = { _class_name: 'FlowMatchEulerDiscreteScheduler' }
  test.each<[string, Parameters<typeof folder>[0], string, SchedulerName]>([
    ['scheduler/ says flow match', { scheduler: flow }, 'FlowMatchEulerDiscreteScheduler', 'DDIMScheduler'],
    ['scheduler/ says flow match', { scheduler: flow }, 'FlowMatchEulerDiscreteScheduler', 'RFlowScheduler'],
    ['scheduler/ says DDIM', { scheduler: { _class_name: 'DDIMScheduler', clip_sample: false } }, 'DDIMScheduler', 'FlowMatchEulerDiscreteScheduler'],
    ['the backbone is STDiT3', { config: { model_type: 'STDiT3' } }, 'RFlowScheduler', 'DPMSolverMultistepScheduler']
  ])('%s: %s of the model, %s given', async (_name, parts, own, given) => {
    await using pipeline = await open(folder(parts))
    const both = expect.objectContaining({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message: expect.stringMatching(`${own}.* for scheduler but received ${given}`) as string })
    expect(() => pipeline.plan({ ...short, scheduler: given })).toThrow(both)
    await expect(pipeline.generate({ ...short, scheduler: given })).rejects.toThrow(both)
    await expect(pipeline.generate({ ...short, scheduler: { _class_name: given } })).rejects.toThrow(both)
  })

  test('one of the same target samples', async () => {
    await using pipeline = await open(folder({ scheduler: { _class_name: 'DDIMScheduler', clip_sample: false } }))
    const { latents } = await pipeline.generate({ ...short, scheduler: 'DPMSolverMultistepScheduler' })
    expect(latents.data.every(Number.isFinite)).toBe(true)
  })

  test('where nothing says what the model learnt, any one samples', async () => {
    await using pipeline = await open(folder())
    for (const scheduler of ['DDIMScheduler', 'FlowMatchEulerDiscreteScheduler'] as const) await pipeline.generate({ ...short, scheduler })
  })

  test('is refused in a loop over denoise too, for handles and plain data', async () => {
    await using pipeline = await open(folder({ scheduler: flow }))
    const latents = { data: new Float32Array(4 * 5 * 16).fill(0.5), shape: [4, 5, 4, 4] }
    const wrong = [DDIMScheduler.fromConfig(), RFlowScheduler.fromConfig({ use_timestep_transform: false })]
    const right = FlowMatchEulerDiscreteScheduler.fromConfig()
    for (const scheduler of [...wrong, right]) scheduler.setTimesteps(2)
    const output = await pipeline.denoise({ latents, timestep: 500, promptEmbeds })
    for (const scheduler of wrong) await expect(scheduler.step(output, scheduler.timesteps[0]!, latents)).rejects.toThrow(`own FlowMatchEulerDiscreteScheduler, for scheduler but received ${scheduler.className}`)
    // What came of it is the caller's own: only the model's output bears its target.
    const next = await right.step(output, 1000, latents)
    await wrong[0]!.step({ ...output }, wrong[0]!.timesteps[0]!, next)
  })

  test('training makes it the right one', async () => {
    await using pipeline = await open(folder({ scheduler: flow }))
    const latents = { data: new Float32Array(4 * 5 * 16).map((_, i) => Math.sin(i)), shape: [4, 5, 4, 4] as [number, number, number, number] }
    const trainer = new Trainer(pipeline, { scheduler: 'DDIMScheduler', lengths: [5], seed: 1 })
    await expect(pipeline.generate({ ...short, scheduler: 'DDIMScheduler' })).rejects.toThrow(RangeError)
    await trainer.step([{ prompt: '', latents, promptEmbeds }])
    trainer.dispose()
    const asked = await pipeline.generate({ ...short, scheduler: 'DDIMScheduler' })
    expect(bits((await pipeline.generate(short)).latents).equals(bits(asked.latents))).toBe(true)
    await expect(pipeline.generate({ ...short, scheduler: 'FlowMatchEulerDiscreteScheduler' })).rejects.toThrow(/own DDIMScheduler/)
  })
})

// Training with Open-Sora's own scheduler. Its x_t is flow match's and its target x0 − ε the other sign, so with the signs of the last layer turned it must be flow match, bit by
// bit, and that is in the fixtures. Which timesteps it draws: frequencies.test.ts; a whole run: ten-steps.test.ts.
import { expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import { bits, fixture, layouts, named, readTensors } from '../support/fixtures.js'

test.each(layouts)('loss and gradients of layout %s are those of flow match with a turned last layer', async (layout) => {
  await using pipeline = await VideoPipeline.fromPretrained(fixture(`vin-${layout}`), { device: 'cpu' })
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const frames = named(io, 'train_x0').shape[1]!
  const run = async (scheduler: 'FlowMatchEulerDiscreteScheduler' | 'RFlowScheduler') => {
    const trainer = new Trainer(pipeline, { scheduler, contextLossWeight: 0.7 })
    const frameMask = Array.from({ length: frames }, (_, frame) => (frame < 2 ? 0 : 1))
    const result = await trainer.lossAndGradients({ latents: named(io, 'train_x0'), noise: named(io, 'train_noise'), promptEmbeds: named(io, 'prompt_embeds'), timestep: 337.5, frameMask })
    trainer.dispose()
    return result
  }
  const turned = /^final_layer\.linear\.(weight|bias)$/
  const flow = await run('FlowMatchEulerDiscreteScheduler')
  const unturned = await run('RFlowScheduler')
  for (const { name } of pipeline.transformer.weights()) {
    const weight = pipeline.transformer.native.weight(name)
    if (turned.test(name)) pipeline.engine.native.op('linear_combination', { y: weight, a: weight, fa: -1, fb: 0, fc: 0, fd: 0 })
  }
  const rflow = await run('RFlowScheduler')
  expect(rflow.loss).toBe(flow.loss)
  expect(unturned.loss).not.toBe(flow.loss)
  expect(rflow.gradients.size).toBe(flow.gradients.size)
  for (const [name, gradient] of rflow.gradients) {
    const wanted = flow.gradients.get(name)!
    expect(bits(gradient).equals(bits(turned.test(name) ? { ...wanted, data: wanted.data.map((value) => -value) } : wanted)), name).toBe(true)
  }
})

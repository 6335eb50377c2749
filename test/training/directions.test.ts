// Derivatives of whole losses, VAE and text encoder, against differences of the loss itself along a direction through all their weights.
import { describe, expect, test } from 'vitest'
import type { NativeEngine, NativeTensor, NativeTrainer } from '../../lib/native/binding.js'
import { onDevices, openEngine } from '../support/devices.js'
import { disturb } from '../support/gradients.js'
import { tinyTextEncoder, tinyTransformer, tinyVAE } from '../support/models.js'

/** 'gradient': the direction in which the loss rises fastest. 'every tensor': each tensor goes along its gradient by the same part of its own norm, so that small ones count too. */
const directions = ['gradient', 'every tensor'] as const

/**
The derivative of `loss`, which adds to the trainer's gradients, as gradients say and as differences of fourth order say: (8 (f(h) − f(−h)) − (f(2h) − f(−2h)))/12h.

The step h is the one that changes the loss by the share c. Two errors bound c. Rounding: the loss is a double sum of fp32 terms and known to some 1e-8 of itself, so the difference to
1e-8/c. Curvature: what fourth order leaves grows with c⁴. With the c of each test the sum was measured below 3e-4; 1e-3 is asked for.
*/
async function derivative(
  engine: NativeEngine, trainer: NativeTrainer, weightOf: (name: string) => NativeTensor, loss: () => Promise<number>, direction: (typeof directions)[number], c: number
): Promise<{ predicted: number; found: number }> {
  trainer.zeroGradients()
  const base = await loss()
  const moves: { weight: NativeTensor; before: NativeTensor; along: NativeTensor }[] = []
  let predicted = 0
  const norm = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0))
  for (const name of trainer.names()) {
    const gradient = await trainer.gradient(name).read()
    const weight = weightOf(name)
    const before = await weight.read()
    const length = norm(gradient.data)
    // A bias that starts at 0 has no norm of its own.
    const scale = direction === 'gradient' || length === 0 ? 1 : (norm(before.data) || 1) / length
    predicted += scale * length ** 2
    moves.push({ weight, before: engine.upload(before.data, before.shape), along: engine.upload(Float32Array.from(gradient.data, (value) => scale * value), gradient.shape) })
  }
  const h = (c * base) / predicted
  const at = async (distance: number): Promise<number> => {
    for (const { weight, before, along } of moves) engine.op('linear_combination', { y: weight, a: before, b: along, fa: 1, fb: distance, fc: 0, fd: 0 })
    return loss()
  }
  const found = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h)
  return { predicted, found }
}

describe.each(onDevices(directions))('along the %s on %s', (direction, device) => {
  // Half a minute of the emulator's for both directions; what is wrong in any tensor shows along the second one.
  test.runIf(device !== 'cuda-emu' || direction === 'every tensor')('all weights of both parts of the VAE: |error|, squared error and KL of a clip of micro-batches', async () => {
    const engine = openEngine(device)
    const vae = await engine.create('vae', tinyVAE, 9n)
    const names = vae.weights().map(({ name }) => name).filter((name) => name !== 'scale' && name !== 'shift')
    const trainer = engine.createTrainer([vae], [names])
    const [T, size] = [6, 16]
    // Pixels of 1 … 3, far from what an untrained decoder answers: no error changes its sign within a step, where |error| has no derivative.
    const pixels = engine.upload(Float32Array.from({ length: 3 * T * size * size }, (_, i) => 2 + Math.sin(0.31 * (i % size) + 0.0017 * i)), [3, T, size, size])
    const weight = engine.upload(Float32Array.from({ length: T * size * size }, (_, i) => 1.5 + Math.cos(0.7 * i)), [T, size, size])
    const noise = engine.op('randn', { y: { shape: [4, 3, 2, 2] }, seed_low: 1, seed_high: 0, stream: 0, frame_major: 1 })['y']!
    const parts = async (): Promise<number[]> => [...(await trainer.backwardVae({ pixels, weight, noise, stage: 'all', l1: 1e-3, mse: 2e-3, kl: 1e-2 }).read()).data]
    for (const part of await parts()) expect(part).toBeGreaterThan(0)
    const loss = async () => (await parts()).reduce((a, b) => a + b)
    const { predicted, found } = await derivative(engine, trainer, (name) => vae.weight(name), loss, direction, 2e-4)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(1e-3 * predicted)
    await engine.dispose()
  })

  test('all weights of the text encoder, through the loss of a video', async () => {
    const engine = openEngine(device)
    const transformer = await engine.create('transformer', tinyTransformer, 5n)
    const encoder = await engine.create('t5', tinyTextEncoder, 6n)
    // Untrained models hardly read the text and predict 0; disturbed much more, rounding grows with them.
    for (const { name } of transformer.weights()) {
      if (!/(cross_attn\.proj|final_layer\.linear|y_proj\.fc[12]|text_proj)\.weight$/.test(name)) continue
      for (let times = 0; times < 4; times++) await disturb(engine, transformer.weight(name))
    }
    const trainer = engine.createTrainer([transformer, encoder], [[], encoder.weights().map(({ name }) => name)])
    const randn = (stream: number) => engine.op('randn', { y: { shape: [4, 10, 4, 4] }, seed_low: 1, seed_high: 0, stream, frame_major: 1 })['y']!
    const request = {
      latents: randn(1), target: randn(2), timestep: 400, ids: [3, 4, 6, 8, 3, 5, 7, 1], fps: 16, height: 32, width: 32,
      // One chunk: through keys and values of context rows the loss has no gradient by definition (model.md §3.5), which differences do not know.
      chunks: [{ first: 0, start: 0, end: 10 }], keyframes: [0, 5], contextLossWeight: 1, lossScale: 1
    }
    const loss = async (): Promise<number> => (await trainer.backward([request], { gradientCheckpointing: false }).read()).data[0]!
    const { predicted, found } = await derivative(engine, trainer, (name) => encoder.weight(name.replace('text_encoder.', '')), loss, direction, 5e-3)
    expect(predicted).toBeGreaterThan(0)
    expect(Math.abs(found - predicted)).toBeLessThanOrEqual(1e-3 * predicted)
    await engine.dispose()
  })
})

// One evaluation part by part, against the fixtures, on every instruction set of the machine and every CUDA plug-in: what the public interface does not show (model.md §3.1–§3.5).
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EvaluationRequest, NativeEngine, NativeTensor, NativeTransformer } from '../../lib/native/binding.js'
import type { TensorData } from '../../lib/index.js'
import { devicesAndSets, openEngine } from '../support/devices.js'
import { compare, expectEvaluation, fixture, layouts, named, readJson, readTensors } from '../support/fixtures.js'

interface Case {
  engine: NativeEngine
  model: NativeTransformer
  io: Record<string, TensorData>
  request: EvaluationRequest
  negativeText: NativeTensor
}

async function open(layout: string, device: string): Promise<Case> {
  const engine = openEngine(device)
  const config = readJson(`vin-${layout}`, 'transformer', 'config.json')
  const model = await engine.load('transformer', config, [fixture(`vin-${layout}`, 'transformer', 'diffusion_pytorch_model.safetensors')])
  const io = readTensors(`vin-${layout}`, 'io.safetensors')
  const upload = (name: string): NativeTensor => engine.upload(Float32Array.from(named(io, name).data), named(io, name).shape)
  const [, frames, height, width] = named(io, 'latents').shape as [number, number, number, number]
  const plan = named(io, 'plan')
  const chunks = Array.from({ length: plan.shape[0]! }, (_, i) => ({ first: plan.data[3 * i]!, start: plan.data[3 * i + 1]!, end: plan.data[3 * i + 2]! }))
  // Keyframes every second: latent frames 0, 5, 10, …
  const keyframes = Array.from({ length: Math.ceil(frames / 5) }, (_, k) => 5 * k)
  const request = {
    latents: upload('latents'), timestep: named(io, 'timestep').data[0]!, text: upload('prompt_embeds'), guidanceScale: 1, fps: 16,
    height: 8 * height, width: 8 * width, chunks, keyframes, fuse: true
  }
  const rows = named(io, 'prompt_embeds').shape[0]!
  const negativeText = engine.slice(model.weight('y_embedder.y_embedding'), 0, 0, rows)
  return { engine, model, io, request, negativeText }
}

const read = async (tensor: NativeTensor): Promise<TensorData> => {
  const { data, shape } = await tensor.read()
  return { data: data as Float32Array, shape }
}

for (const device of devicesAndSets) {
  describe.each(layouts)(`%s on ${device}`, (layout) => {
    let opened: Case
    beforeAll(async () => {
      opened = await open(layout, device)
    })
    afterAll(() => opened.engine.dispose())

    test('every intermediate of one evaluation', async () => {
      const { model, io, request } = opened
      const trace = model.trace(request)
      expectEvaluation(await read(trace.t_vec!), named(io, 't_vec'))
      expectEvaluation(await read(trace.video_tokens!), named(io, 'video_tokens'))
      expectEvaluation(await read(trace.global_tokens!), named(io, 'global_tokens'))
      expectEvaluation(await read(trace.global_tokens_projected!), named(io, 'global_tokens_projected'))
      for (const [i, chunk] of trace.chunks!.entries()) expectEvaluation(await read(chunk), named(io, `chunk_${i}`))
      expectEvaluation(await read(trace.output), named(io, 'eps_fused'))
    })

    test('the planned evaluation has the bits of the traced one', async () => {
      const { model, request } = opened
      const planned = await read(model.denoise(request))
      const traced = await read(model.trace(request).output)
      expect(Buffer.from(planned.data.buffer).equals(Buffer.from(traced.data.buffer))).toBe(true)
    })

    test('a chunk behind clean context', async () => {
      const { model, io, request } = opened
      const chunk = request.chunks[1]!
      const frameMask = Array.from({ length: named(io, 'latents').shape[1]! }, (_, n) => (n >= chunk.first && n < chunk.start ? 0 : 1))
      const { keyframes: _, ...plain } = request
      const { chunks } = model.trace({ ...plain, chunks: [chunk], frameMask })
      expectEvaluation(await read(chunks![0]!), named(io, 'chunk_1_clean_context_no_vin'))
    })
  })
}

describe.each(layouts)('%s', (layout) => {
  test('any weight tensor scaled by 1.1 turns the guided evaluation or the global tokens red', async () => {
    const { engine, model, io, request, negativeText } = await open(layout, 'cpu')
    const guided = { ...request, guidanceScale: 4, negativeText }
    const red = async (): Promise<boolean> => {
      const trace = model.trace(request)
      const pairs = [
        [model.denoise(guided), 'eps_guided_w4'],
        [trace.global_tokens!, 'global_tokens'],
        [trace.global_tokens_projected!, 'global_tokens_projected']
      ] as const
      const compared = await Promise.all(pairs.map(async ([tensor, name]) => compare(await read(tensor), named(io, name))))
      return compared.some(({ difference, magnitude }) => !(difference <= 2e-5 * Math.max(1, magnitude)))
    }
    expect(await red()).toBe(false)
    const scale = (weight: NativeTensor, factor: number): unknown => engine.op('linear_combination', { y: weight, a: weight, fa: factor, fb: 0, fc: 0, fd: 0 })
    const unseen: string[] = []
    for (const { name } of model.weights()) {
      const weight = model.weight(name)
      const before = await read(weight)
      scale(weight, 1.1)
      if (!(await red())) unseen.push(name)
      engine.op('copy', { y: weight, x: engine.upload(Float32Array.from(before.data), before.shape) })
    }
    expect(unseen).toEqual([])
    expect(await red()).toBe(false)
    await engine.dispose()
  })
})

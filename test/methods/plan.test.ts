// What a plan says of a run's cost is what the run does: FLOPs and evaluations, counted from the requests that it makes.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randn, type GenerateOptions, type TensorData, type VideoPipeline } from '../../lib/index.js'
import type { EvaluationRequest } from '../../lib/native/binding.js'
import { branchesOf } from '../../lib/pipeline/step-cache.js'
import { evaluationFlops, type CostModel } from '../../lib/plan/cost.js'
import { tinyPipeline } from '../support/models.js'

let pipeline: VideoPipeline
let promptEmbeds: TensorData
beforeAll(async () => {
  pipeline = await tinyPipeline({ addParts: ['cam', 'apm', 'memory'] })
  promptEmbeds = await randn({ seed: 4, shape: [5, 32] })
})
afterAll(() => pipeline.dispose())

// As tinyTransformer says, at 32 × 32 pixels and 5 rows of text.
const model: CostModel = { layout: 'full', depth: 2, C: 48, mlpRatio: 4, S: 4, L: 5, D: 32, vin: { G: 8, d: 48, blocks: 1 } }

test.each<GenerateOptions>([
  {},
  { guidanceScale: 1 },
  { guidanceScale: 0 },
  { stagger: 3 },
  { globalTokenMemory: true },
  { globalTokenMemory: true, stagger: 1, guidanceScale: 1 },
  { globalTokenMemory: true, numInferenceSteps: 1 },
  { globalTokenMemory: true, numFrames: 32 },
  { method: 'independent', stagger: 2 },
  { method: 'full' },
  { method: 'freenoise' },
  { method: 'spectral-blend', numInferenceSteps: 5 },
  { method: 'autoregressive' },
  { method: 'streaming-t2v', anchorGuidanceScale: 3, randomizedBlending: true }
])('%j', async (extra) => {
  const counted = { total: 0, evaluations: 0 }
  const native = pipeline.transformer.native
  const { denoise } = native
  const counting = (request: EvaluationRequest): ReturnType<typeof denoise> => {
    const chunks = request.chunks.filter(({ start, end }) => request.frameMask === undefined || request.frameMask.slice(start, end).includes(1))
    counted.total += branchesOf(request) * evaluationFlops(model, { ...request, chunks })
    counted.evaluations += branchesOf(request) * chunks.length
    return denoise.call(native, request)
  }
  Object.defineProperty(native, 'denoise', { value: counting, configurable: true })
  try {
    const { plan } = await pipeline.generate({ numFrames: 96, seed: 3, outputType: 'latents', promptEmbeds, ...extra })
    expect({ total: plan.flops.total, evaluations: plan.flops.evaluations }).toEqual(counted)
    expect(counted.total).toBeGreaterThan(0)
  } finally {
    Reflect.deleteProperty(native, 'denoise')
  }
})

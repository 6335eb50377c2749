// Training on an asynchronous backend: what it asks of the device once all is warm.
import { afterEach, describe, expect, test } from 'vitest'
import { Trainer, VideoPipeline } from '../../lib/index.js'
import type { TrainingExample } from '../../lib/index.js'
import { PhiloxRandom } from '../../lib/plan/random.js'
import { emulatedBackend } from '../support/addon.js'
import { counters, setEmulator } from '../support/emulator.js'
import { tinyPipeline, tinyTransformer } from '../support/models.js'

describe.runIf(emulatedBackend)('training on cuda-emu', () => {
  afterEach(() => setEmulator({}))
  const example: TrainingExample = { prompt: 'a red circle', latents: { data: new PhiloxRandom(8, 0x10000, 0).normals(4 * 5 * 16), shape: [4, 5, 4, 4] } }
  const options = { lengths: [5], seed: 3, textDropout: 0, globalTokenDropout: 0, maskRatios: {} }

  test('steps allocate nothing, plan nothing and wait for nothing but what is read', async () => {
    setEmulator({})
    await using pipeline = await tinyPipeline({ device: 'cuda-emu' })
    const trainer = new Trainer(pipeline, options)
    const step = () => trainer.step([example, example])
    for (let warm = 0; warm < 2; warm++) await step()
    const { native } = pipeline.engine, [before, stats] = [counters(), native.stats()]
    for (let k = 0; k < 3; k++) await step()
    const [after, then] = [counters(), native.stats()]
    expect(after.launches - before.launches).toBeGreaterThan(300)
    expect(after.allocations).toBe(before.allocations)
    expect(after.waits).toBe(before.waits)
    expect(then.dryRuns).toBe(stats.dryRuns)
    expect(then.waits).toBe(0)
    trainer.dispose()
  })

  test('a trainer, which is made at once, says at its first step that the device has no memory for it', async () => {
    const before = counters().bytes
    // The model lies on the device, and twice its weights; a trainer needs them five times more.
    const weights = await sizeOfWeights()
    setEmulator({ memory: before + Math.ceil(3 * weights) + (1 << 20) })
    await using pipeline = await VideoPipeline.fromConfig({ transformer: larger }, { device: 'cuda-emu', seed: 1 })
    const trainer = new Trainer(pipeline, options)
    await expect(trainer.step([{ ...example, promptEmbeds: { data: new Float32Array(32), shape: [1, 32] } }])).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY' })
    trainer.dispose()
  })
  const larger = { ...tinyTransformer, hidden_size: 192, vin: { ...tinyTransformer.vin, dim: 192 } }
  async function sizeOfWeights(): Promise<number> {
    await using pipeline = await VideoPipeline.fromConfig({ transformer: larger }, { device: 'cpu', seed: 1 })
    return pipeline.transformer.weights().reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0)
  }
})

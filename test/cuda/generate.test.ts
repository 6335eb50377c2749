// `generate` and one evaluation on the emulated device and on a GPU against the CPU.
import { describe, expect, test } from 'vitest'
import { VideoPipeline, randn } from '../../lib/index.js'
import type { Device } from '../../lib/native/backends.js'
import { cudaDevices } from '../support/devices.js'
import { counters, setEmulator } from '../support/emulator.js'
import { expectEvaluation } from '../support/fixtures.js'
import { psnr } from '../video/support.js'

const options = { prompt: 'a red circle moves over the meadow', numFrames: 16, numInferenceSteps: 4, guidanceScale: 2, seed: 7 }

async function pixels(device: Device): Promise<Uint8Array> {
  await using pipeline = await VideoPipeline.fromPretrained('demo', { device })
  const frames: Uint8Array[] = []
  for await (const { data } of (await pipeline.generate(options)).frames()) frames.push(data.slice())
  expect(frames.length).toBe(options.numFrames)
  return Uint8Array.from(Buffer.concat(frames))
}

// About 17 s of processor time, nearly all of it on the emulator.
describe.runIf(cudaDevices.length > 0).each<Device>(cudaDevices.length > 0 ? cudaDevices : ['cuda-emu'])('the built-in model on %s', (device) => {
  test('draws what it draws on the CPU', { timeout: 300_000 }, async () => {
    setEmulator({})
    const expected = await pixels('cpu')
    const found = await pixels(device)
    if (device === 'cuda-emu') expect(counters().launches).toBeGreaterThan(1000)
    expect(expected.length).toBe(16 * 64 * 64 * 3)
    // Half of all pixels one step of 255 apart would be 51 dB; noise whose sums have another order moves far fewer.
    expect(psnr(found, expected)).toBeGreaterThan(60)
  })

  test('gives the CPU’s guided evaluation of 256 frames, within a minute of one core', { timeout: 300_000 }, async () => {
    setEmulator({})
    const latents = await randn({ seed: 7, shape: [4, 80, 8, 8] }), promptEmbeds = await randn({ seed: 8, shape: [9, 64] })
    const evaluate = async (one: Device) => {
      await using pipeline = await VideoPipeline.fromPretrained('demo', { device: one })
      const before = process.cpuUsage()
      const eps = await pipeline.denoise({ latents, timestep: 500, promptEmbeds, guidanceScale: 4 })
      const { user, system } = process.cpuUsage(before)
      return { eps, seconds: (user + system) / 1e6 }
    }
    const { eps, seconds } = await evaluate(device)
    expectEvaluation(eps, (await evaluate('cpu')).eps)
    // 16 s of processor time: the wall's clock depends on what else the machine does.
    expect(seconds).toBeLessThan(60)
  })
})

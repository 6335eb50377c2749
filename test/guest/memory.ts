// What a long video costs beside a short one, for the short form of the test and the long one.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { answerOf } from './support.js'

export interface Memory {
  plan: { weights: number; activations: number; decode: number; peak: number }
  /** Most bytes that the engine's allocator held, weights included. */
  held: number
  /** Most decoded frames that were alive at once. */
  alive: number
  /** Bytes of the latents. */
  latents: number
  /** Of the process, when the model was loaded and when the run had ended. */
  loaded?: { now: number; peak: number }
  ended?: { now: number; peak: number }
}

export const linux = process.platform === 'linux'

/** Peak of a whole process that samples, decodes and writes an .mp4: 1,024 frames take at most three times their latents and 32 MB more than 64. */
export async function expectFlat(size: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'vin-memory-'))
  try {
    const run = (numFrames: number): Promise<Memory> =>
      answerOf('memory.mjs', {
        model: 'demo',
        options: { prompt: 'a red circle bounces over a meadow', numFrames, numInferenceSteps: 1, seed: 7, width: size, height: size },
        output: join(folder, `${numFrames}.mp4`)
      })
    const [short, long] = [await run(64), await run(1024)]
    expect(long.latents).toBe(16 * short.latents)
    expect(long.ended!.peak).toBeLessThanOrEqual(short.ended!.peak + 3 * long.latents + 32e6)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

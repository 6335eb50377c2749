// Chunks of one evaluation share the keys and values of captions and global tokens. A chunk that is evaluated alone makes its own: no bit may tell which it was.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EvaluationRequest, NativeEngine } from '../../lib/native/binding.js'
import { loadBinding } from '../../lib/native/load.js'
import { stirredTransformer, tinyTransformer } from '../support/models.js'

const { in_channels: C, caption_channels: D } = tinyTransformer
const values = (length: number, seed: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 0.7))
const chunks = [{ first: 0, start: 0, end: 4 }, { first: 2, start: 4, end: 8 }, { first: 6, start: 8, end: 12 }]
// All rows, one half, and fewer rows than a matrix product takes to pack its operands.
const timeline = [{ begin: 0, end: 12 }, { begin: 1, end: 7 }, { begin: 9, end: 12 }]

let engine: NativeEngine
beforeAll(() => {
  engine = loadBinding().createEngine({ device: 'cpu', threads: 2 })
})
afterAll(() => engine.dispose())

describe.each(['factorised', 'hybrid', 'full'] as const)('%s', (layout) => {
  // 505 global tokens: a chunk's rows lie on both sides of the 512 from which on products of the CPU pack their weights for all rows at once.
  test.each([['no', 8], ['few', 8], ['many', 505]] as const)('with %s global tokens a chunk is what it is alone', async (which, tokens) => {
    const model = await stirredTransformer(engine, { ...tinyTransformer, attention_layout: layout, pred_sigma: true, vin: { ...tinyTransformer.vin, num_global_tokens: tokens } }, 3n)
    const request: EvaluationRequest = {
      latents: engine.upload(values(C * 12 * 16, 1), [C, 12, 4, 4]), timestep: 400, text: engine.upload(values(12 * D, 2), [12, D]), fps: 16, height: 32, width: 32,
      chunks, keyframes: which === 'no' ? undefined : [0, 5, 10]
    }
    for (const chunkText of [undefined, timeline]) {
      const together = await Promise.all(model.trace({ ...request, chunkText }).chunks!.map((chunk) => chunk.read()))
      for (const [i, chunk] of chunks.entries()) {
        const alone = await model.trace({ ...request, chunks: [chunk], chunkText: chunkText && [chunkText[i]!] }).chunks![0]!.read()
        expect(alone.data.some((value) => value !== 0)).toBe(true)
        expect(together[i]!.data, `chunk ${i}`).toEqual(alone.data)
      }
    }
    model.dispose()
  })
})

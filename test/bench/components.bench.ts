// The parts around the transformer: VAE decode and T5 encode of the built-in model.

import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VideoPipeline, randn } from '../../lib/index.js'
import type { VAEConfig } from '../../lib/models/vae.js'
import { allThreads, compareWithPeer, timed } from './harness.js'
import { demoFolder } from './model.js'
import { Peer } from './peer.js'

let pipeline: VideoPipeline
let peer: Peer | undefined

beforeAll(async () => {
  pipeline = await VideoPipeline.fromPretrained(demoFolder, { device: 'cpu', threads: allThreads })
  peer = await Peer.open()
})

afterAll(async () => {
  await peer?.close()
  await pipeline.dispose()
})

/** Of decoding one micro-batch of h × w latents: 2 · elements of a kernel · places it is put at, and the attention in the middle. */
function decodeOperations(weights: { name: string; shape: number[] }[], config: Readonly<VAEConfig>, h: number, w: number): number {
  const { micro_frame_size: frames, micro_latent_size: latentFrames } = config
  const levels = config.temporal.temporal_downsample
  let operations = 0
  for (const { name, shape } of weights) {
    if (!name.endsWith('.weight') || shape.length < 2 || !/\.(decoder|post_quant_conv)\./.test(name)) continue
    let places: number
    if (name.startsWith('temporal_vae.')) {
      // Frames double behind conv_blocks.i where level i halves time; a convolution of conv_blocks comes before its own doubling.
      const level = Number(/decoder\.block_res_blocks\.(\d+)/.exec(name)?.[1] ?? /decoder\.conv_blocks\.(\d+)/.exec(name)?.[1] ?? (/decoder\.conv_out/.test(name) ? 0 : levels.length))
      const doubled = levels.filter((halved, i) => halved && (name.includes('conv_blocks') ? i > level : i >= level)).length
      places = latentFrames * 2 ** doubled * h * w
    } else {
      const block = /decoder\.up_blocks\.(\d+)\.(upsamplers)?/.exec(name)
      const scale = 2 ** (block ? Number(block[1]) + (block[2] === undefined ? 0 : 1) : name.includes('decoder.conv_out') ? 3 : 0)
      places = frames * h * w * scale * scale
    }
    operations += 2 * shape.reduce((product, size) => product * size, 1) * places
  }
  return operations + frames * 4 * (h * w) ** 2 * config.block_out_channels.at(-1)!
}

test('VAE decode', async () => {
  const { config, microBatch } = pipeline.vae
  const batches = 4
  const latents = await randn({ seed: 1, shape: [4, batches * microBatch.latentFrames, 8, 8] })
  const decode = () => pipeline.vae.decode(latents)
  await compareWithPeer({
    group: 'around the transformer', work: `VAE decode, ${batches * microBatch.frames} frames of 64 × 64`, ours: timed(decode), peer,
    operations: batches * decodeOperations(pipeline.vae.weights(), config, 8, 8),
    outputs: async () => ({ pixels: await decode() }),
    check: ({ pixels }) => {
      expect(pixels!.shape).toEqual([3, batches * microBatch.frames, 64, 64])
      expect(pixels!.data.every(Number.isFinite)).toBe(true)
    },
    same: { work: 'vae_decode', inputs: { latents }, options: { folder: join(demoFolder, 'vae') } },
    // Some 30 convolutions one after another, each rounding its sum of up to 1,728 products.
    tolerance: 1e-4
  })
})

test('T5 encode', async () => {
  const { textEncoder, tokenizer } = pipeline
  const { num_layers: layers, d_model: width, d_kv, d_ff, num_heads: heads } = textEncoder.config
  const prompt = 'a large red circle and a small blue square bounce over the meadow the curtain closes at 3s opens at 6s'
  const { ids } = tokenizer.encode(prompt, { maxLength: 24 })
  const encode = () => textEncoder.native.encode(ids, {}).read()
  const L = ids.length
  await compareWithPeer({
    group: 'around the transformer', work: `T5 encode, ${L} tokens`, ours: timed(encode), peer,
    operations: layers * (2 * L * width * (4 * heads * d_kv + 3 * d_ff) + 4 * L * L * heads * d_kv),
    outputs: async () => {
      const { data, shape } = await encode()
      return { embeds: { data: Float32Array.from(data), shape } }
    },
    check: ({ embeds }) => expect(embeds!.data.every(Number.isFinite)).toBe(true),
    same: { work: 't5_encode', inputs: { ids: { data: Float32Array.from(ids), shape: [L] } }, options: { folder: join(demoFolder, 'text_encoder') } },
    tolerance: 1e-4
  })
})

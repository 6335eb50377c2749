// The built-in model as benchmarks see it: its plan as plain numbers, its cost, inputs that depend on nothing but their size.

import { join } from 'node:path'
import { randn } from '../../lib/index.js'
import type { TensorData, VideoPipeline } from '../../lib/index.js'
import { planChunks } from '../../lib/plan/chunks.js'
import type { Chunk } from '../../lib/plan/chunks.js'
import type { CostModel } from '../../lib/plan/cost.js'
import { planKeyframes } from '../../lib/plan/keyframes.js'

export const demoFolder = join(import.meta.dirname, '..', '..', 'models', 'demo')

type TransformerConfig = VideoPipeline['transformer']['config']

export function planOf(config: TransformerConfig, latentFrames: number): { chunks: Chunk[]; keyframes: number[] } {
  const { chunk_frames: chunk, context_frames: context, latent_fps: fps, vin } = config
  return { chunks: planChunks(latentFrames, chunk, context), keyframes: planKeyframes(latentFrames, vin!.keyframe_interval, fps) }
}

export const costOf = (config: TransformerConfig, height: number, width: number, textRows: number): CostModel => ({
  layout: config.attention_layout,
  depth: config.depth,
  C: config.hidden_size,
  mlpRatio: config.mlp_ratio,
  S: Math.ceil(height / 16) * Math.ceil(width / 16),
  L: textRows,
  D: config.caption_channels,
  vin: { G: config.vin!.num_global_tokens, d: config.vin!.dim, blocks: config.vin!.num_blocks }
})

/** Latents and text of a model; rows of text are what a caption has. */
export async function inputsOf(config: TransformerConfig, latentFrames: number, height: number, width: number, textRows: number): Promise<{ latents: TensorData; text: TensorData }> {
  return {
    latents: await randn({ seed: 1, shape: [config.in_channels, latentFrames, height / 8, width / 8] }),
    text: await randn({ seed: 2, shape: [textRows, config.caption_channels] })
  }
}

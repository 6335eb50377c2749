// Small untrained models for tests of the pipeline: what they draw is noise, how they run is real.
import { VideoPipeline } from '../../lib/index.js'
import type { ModelOptions } from '../../lib/index.js'
import type { Config, NativeEngine, NativeTransformer } from '../../lib/native/binding.js'

export const tinyTransformer = {
  attention_layout: 'full',
  depth: 2,
  hidden_size: 48,
  num_heads: 4,
  in_channels: 4,
  caption_channels: 32,
  model_max_length: 12,
  pred_sigma: false,
  input_sq_size: 64,
  chunk_frames: 10,
  context_frames: 4,
  latent_fps: 5,
  max_latent_frames: 40,
  vin: { num_global_tokens: 8, dim: 48, num_heads: 4, num_blocks: 1, keyframe_interval: 1 }
}

/** A transformer of random weights, those included that begin as 0: its predictions depend on everything that it is given. */
export async function stirredTransformer(engine: NativeEngine, config: Config, seed: bigint): Promise<NativeTransformer> {
  const model = await engine.create('transformer', config, seed)
  for (const { name } of model.weights()) {
    if (!/(cross_attn\.proj|final_layer\.linear)\.weight$/.test(name)) continue
    const weight = model.weight(name)
    engine.op('randn', { y: weight, seed_low: Number(seed), seed_high: 0, stream: name.length, frame_major: 0 })
    weight.dispose()
  }
  return model
}

export const tinyVAE = {
  block_out_channels: [8, 8, 16, 16],
  layers_per_block: 1,
  norm_num_groups: 4,
  temporal: { filters: 8, num_res_blocks: 1, channel_multipliers: [1, 1, 2, 2], temporal_downsample: [false, true, true] },
  micro_frame_size: 16,
  micro_latent_size: 5
}

export const tinyTextEncoder = { vocab_size: 16, d_model: 32, d_kv: 8, d_ff: 48, num_layers: 1, num_heads: 4 }

const words = ['<pad>', '</s>', '[UNK]', 'a', 'red', 'blue', 'circle', 'square', 'bounces', 'moves']

export const tinyTokenizer = {
  version: '1.0',
  added_tokens: [],
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'WhitespaceSplit' },
  post_processor: null,
  decoder: null,
  model: { type: 'WordLevel', unk_token: '[UNK]', vocab: Object.fromEntries(words.map((word, id) => [word, id])) }
}

/** Untrained models predict 0: these weights start at 0. Small random ones make the prediction depend on everything. */
export function shake({ transformer }: VideoPipeline): void {
  const engine = transformer.engine.native
  for (const { name, shape } of transformer.weights()) {
    if (!/(cross_attn\.proj|final_layer\.linear)\.weight$/.test(name)) continue
    const noise = engine.op('randn', { y: { shape }, seed_low: 5, seed_high: 0, stream: 1, frame_major: 0 })['y']!
    const weight = transformer.native.weight(name)
    engine.op('linear_combination', { y: weight, a: noise, fa: 0.1, fb: 0, fc: 0, fd: 0 })
    for (const tensor of [noise, weight]) tensor.dispose()
  }
}

/** 32 × 32 pixels, 4 steps: a run takes a fraction of a second. */
export async function tinyPipeline(options: ModelOptions = {}): Promise<VideoPipeline> {
  const pipeline = await VideoPipeline.fromConfig(
    { transformer: tinyTransformer, vae: tinyVAE, textEncoder: tinyTextEncoder, tokenizer: tinyTokenizer, scheduler: 'FlowMatchEulerDiscreteScheduler' },
    { device: 'cpu', seed: 11, defaults: { width: 32, height: 32, numInferenceSteps: 4, guidanceScale: 2 }, ...options }
  )
  shake(pipeline)
  return pipeline
}

// The built-in model: sizes, and the settings of its sampler.

import { demoVocabularySize } from './tokenizer.js'

export const vaeConfig = {
  _class_name: 'OpenSoraVAE_V1_2',
  block_out_channels: [16, 32, 64, 64],
  layers_per_block: 1,
  norm_num_groups: 8,
  temporal: {
    filters: 32,
    num_res_blocks: 1,
    channel_multipliers: [1, 1, 2, 2],
    temporal_downsample: [false, true, true],
    norm_num_groups: 8
  },
  scaling_factor: 0.18215,
  micro_frame_size: 16,
  micro_latent_size: 5,
  encode: 'posterior mean'
}

export const transformerConfig = {
  _class_name: 'VinTransformer3DModel',
  attention_layout: 'full',
  depth: 6,
  hidden_size: 192,
  num_heads: 6,
  in_channels: 4,
  patch_size: [1, 2, 2],
  mlp_ratio: 4,
  caption_channels: 64,
  model_max_length: 24,
  qk_norm: true,
  pred_sigma: false,
  input_sq_size: 64,
  chunk_frames: 10,
  context_frames: 4,
  latent_fps: 5,
  max_latent_frames: 80,
  vin: { num_global_tokens: 32, dim: 192, num_heads: 6, num_blocks: 4, keyframe_interval: 0.2 }
}

export const textEncoderConfig = {
  architectures: ['T5EncoderModel'],
  model_type: 't5',
  // Rows for more words, so that adding some keeps the shape of the embedding.
  vocab_size: Math.max(96, demoVocabularySize),
  d_model: 64,
  d_kv: 16,
  d_ff: 256,
  num_layers: 2,
  num_heads: 4,
  relative_attention_num_buckets: 32,
  relative_attention_max_distance: 128,
  layer_norm_epsilon: 1e-6,
  feed_forward_proj: 'gated-gelu',
  is_encoder_decoder: false,
  tie_word_embeddings: true,
  pad_token_id: 0,
  eos_token_id: 1
}

export const schedulerConfig = { _class_name: 'FlowMatchEulerDiscreteScheduler', num_train_timesteps: 1000, shift: 3 }

/** What the model is sampled with where nobody says otherwise. */
export const modelDefaults = { guidanceScale: 4, numInferenceSteps: 24, width: 64, height: 64, fps: 16 }

/** What the stages train, and how much they look at. Tests train smaller ones. */
export interface DemoSizes {
  vae: Record<string, unknown>
  transformer: Record<string, unknown>
  textEncoder: Record<string, unknown>
  /** Held-out examples of the VAE stages: single frames, and micro-batches. */
  heldOutFrames: number
  heldOutClips: number
  /** Videos of 4 s over which the moments of the latents are taken. */
  momentVideos: number
  latentFramesPerStep: number
}

export const demoSizes: DemoSizes = {
  vae: vaeConfig,
  transformer: transformerConfig,
  textEncoder: textEncoderConfig,
  heldOutFrames: 64,
  heldOutClips: 8,
  momentVideos: 48,
  latentFramesPerStep: 160
}

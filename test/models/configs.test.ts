// What a config may say is decided in one place: the same refusals for a config that is given and for one in a file, the same values for keys that are left out.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TextEncoder, Transformer, VAE } from '../../lib/index.js'
import { tinyTextEncoder, tinyTransformer, tinyVAE } from '../support/models.js'

const device = 'cpu' as const
const kinds = { transformer: [Transformer, tinyTransformer], vae: [VAE, tinyVAE], text_encoder: [TextEncoder, tinyTextEncoder] } as const
type Kind = keyof typeof kinds

let folder: string
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'vin-config-'))))
afterEach(() => rm(folder, { recursive: true, force: true }))

const vin = { num_global_tokens: 4, dim: 8, num_heads: 2 }
const refused: [Kind, object, 'FORMAT' | 'NOT_SUPPORTED', string][] = [
  ['transformer', { depth: 1025 }, 'FORMAT', 'depth'],
  ['transformer', { depth: 1.5 }, 'FORMAT', 'depth'],
  ['transformer', { depth: undefined }, 'FORMAT', 'depth'],
  ['transformer', { depth: null }, 'FORMAT', 'depth'],
  ['transformer', { in_channels: 4n }, 'FORMAT', 'in_channels'],
  ['transformer', { qk_norm: 1 }, 'FORMAT', 'qk_norm'],
  ['transformer', { latent_fps: NaN }, 'FORMAT', 'latent_fps'],
  ['transformer', { hidden_size: 2048, num_heads: 2 }, 'FORMAT', 'num_heads'],
  ['transformer', { chunk_frames: 4, context_frames: 5 }, 'FORMAT', 'context_frames'],
  ['transformer', { max_latent_frames: 1_000_001 }, 'FORMAT', 'max_latent_frames'],
  ['transformer', { patch_size: [1, 2] }, 'FORMAT', 'patch_size'],
  ['transformer', { patch_size: [1, 4, 4] }, 'NOT_SUPPORTED', 'patch_size'],
  ['transformer', { skip_y_embedder: true }, 'NOT_SUPPORTED', 'skip_y_embedder'],
  ['transformer', { vin: 4 }, 'FORMAT', 'vin'],
  ['transformer', { vin: { ...vin, dim: undefined } }, 'FORMAT', 'vin.dim'],
  ['transformer', { vin: { ...vin, keyframe_interval: 0 } }, 'FORMAT', 'vin.keyframe_interval'],
  ['transformer', { vin: { ...vin, num_heads: 3 } }, 'FORMAT', 'vin.num_heads'],
  ['vae', { layers_per_block: 17 }, 'FORMAT', 'layers_per_block'],
  ['vae', { latent_channels: 16 }, 'FORMAT', 'latent_channels'],
  ['vae', { norm_num_groups: 3 }, 'FORMAT', 'norm_num_groups'],
  ['vae', { norm_num_groups: 3, block_out_channels: [3, 3, 3, 3], temporal: undefined }, 'FORMAT', 'norm_num_groups'],
  ['vae', { block_out_channels: [8, 8, 8] }, 'NOT_SUPPORTED', 'block_out_channels'],
  ['vae', { temporal: { ...tinyVAE.temporal, temporal_downsample: [true, true, true] } }, 'NOT_SUPPORTED', 'temporal.temporal_downsample'],
  ['vae', { micro_frame_size: null }, 'NOT_SUPPORTED', 'micro_frame_size'],
  ['vae', { micro_frame_size: 17, micro_latent_size: 4 }, 'FORMAT', 'micro_latent_size'],
  ['vae', { scale: [1, 0, 1, 1] }, 'FORMAT', 'scale'],
  ['vae', { shift: [1, 2] }, 'FORMAT', 'shift'],
  ['text_encoder', { d_model: undefined }, 'FORMAT', 'd_model'],
  ['text_encoder', { d_kv: 513 }, 'FORMAT', 'd_kv'],
  ['text_encoder', { relative_attention_max_distance: 8 }, 'FORMAT', 'relative_attention_max_distance'],
  ['text_encoder', { feed_forward_proj: 'relu' }, 'NOT_SUPPORTED', 'feed_forward_proj']
]

describe('a value that no model takes', () => {
  test.each(refused)('%s %o is ERR_VIN_%s of %s', async (kind, change, code, key) => {
    const [component, tiny] = kinds[kind]
    const config = { ...tiny, ...change }
    const at = (file: string): object => ({
      code: `ERR_VIN_${code}`,
      message: expect.stringMatching(new RegExp(code === 'FORMAT' ? `^${file}: expected .* for ${key} but found ` : `^Expected .* for ${key} in ${file} but found .*, which is not supported$`)) as string,
      details: { file, [code === 'FORMAT' ? 'key' : 'name']: key }
    })
    await expect(component.fromConfig(config, { device })).rejects.toMatchObject(at('the config'))
    if ('in_channels' in change) return // a bigint has no JSON
    if ('latent_fps' in change) await writeFile(join(folder, 'config.json'), JSON.stringify(config).replace('"latent_fps":null', '"latent_fps":NaN'))
    else await writeFile(join(folder, 'config.json'), JSON.stringify(config))
    await expect(component.fromPretrained(folder, { device })).rejects.toMatchObject(at(join(folder, 'config.json')))
  })
})

describe('keys that are left out', () => {
  test('of a transformer are those of model.md §2', async () => {
    await using transformer = await Transformer.fromConfig({ depth: 1, hidden_size: 16, num_heads: 2, caption_channels: 8, vin, unknown: () => 0 }, { device })
    expect(transformer.config).toStrictEqual({
      attention_layout: 'factorised', depth: 1, hidden_size: 16, num_heads: 2, in_channels: 4, patch_size: [1, 2, 2], mlp_ratio: 4, caption_channels: 8, model_max_length: 300,
      qk_norm: true, pred_sigma: true, input_sq_size: 512, chunk_frames: 20, context_frames: 8, latent_fps: 5, max_latent_frames: 80,
      vin: { ...vin, num_blocks: 4, keyframe_interval: 1 }
    })
  })

  test('of a text encoder are those of transformers; sizes must be there', async () => {
    const sizes = { d_model: 8, d_kv: 4, d_ff: 8, num_layers: 1, num_heads: 2 }
    await using encoder = await TextEncoder.fromConfig(sizes, { device })
    expect(encoder.config).toStrictEqual({
      vocab_size: 32_128, ...sizes, relative_attention_num_buckets: 32, relative_attention_max_distance: 128, layer_norm_epsilon: 1e-6, feed_forward_proj: 'gated-gelu'
    })
  })

  test('of a VAE: latent frames of a micro-batch follow from its frames, one number stands for every channel', async () => {
    const { micro_latent_size: _, ...rest } = tinyVAE
    for (const [frames, latentFrames] of [[16, 4], [17, 5], [1, 1]] as const) {
      await using vae = await VAE.fromConfig({ ...rest, micro_frame_size: frames, shift: 0.5 }, { device })
      expect(vae.microBatch).toEqual({ frames, latentFrames })
      expect(vae.config.shift).toEqual([0.5, 0.5, 0.5, 0.5])
      expect(vae.config).not.toHaveProperty('scale')
    }
  })

  test('what was resolved is what a new model is made from', async () => {
    for (const [component, tiny] of Object.values(kinds)) {
      await using model = await component.fromConfig(tiny, { device })
      await using again = await component.fromConfig({ ...model.config }, { device })
      expect(JSON.stringify(again.config)).toBe(JSON.stringify(model.config))
    }
  })
})

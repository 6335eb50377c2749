// What a program does with the library, the same in every project of this folder: it makes a video with an untrained model, writes it, meets an error of each
// kind, and gives the library what the library gave it. `vin` is the library as that project loads it. Returns what must not depend on the project.
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const config = {
  transformer: {
    attention_layout: 'full', depth: 2, hidden_size: 48, num_heads: 4, in_channels: 4, caption_channels: 32, model_max_length: 12, pred_sigma: false, input_sq_size: 64,
    chunk_frames: 10, context_frames: 4, latent_fps: 5, max_latent_frames: 40, vin: { num_global_tokens: 8, dim: 48, num_heads: 4, num_blocks: 1, keyframe_interval: 1 }
  },
  vae: {
    block_out_channels: [8, 8, 16, 16], layers_per_block: 1, norm_num_groups: 4, micro_frame_size: 16, micro_latent_size: 5,
    temporal: { filters: 8, num_res_blocks: 1, channel_multipliers: [1, 1, 2, 2], temporal_downsample: [false, true, true] }
  },
  textEncoder: { vocab_size: 16, d_model: 32, d_kv: 8, d_ff: 48, num_layers: 1, num_heads: 4 },
  tokenizer: {
    version: '1.0', added_tokens: [], normalizer: { type: 'Lowercase' }, pre_tokenizer: { type: 'WhitespaceSplit' }, post_processor: null, decoder: null,
    model: { type: 'WordLevel', unk_token: '[UNK]', vocab: { '<pad>': 0, '</s>': 1, '[UNK]': 2, a: 3, red: 4, circle: 5, bounces: 6 } }
  }
}

const hash = (array) => createHash('sha256').update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength)).digest('hex').slice(0, 16)

/** How an error looks to the program that catches it. */
async function caught(vin, work) {
  try {
    await work()
  } catch (error) {
    // By their own names: a bundler may have shortened those of the classes.
    const [kind] = Object.entries({ VinError: vin.VinError, RangeError, TypeError }).find(([, constructor]) => error instanceof constructor) ?? []
    return kind === undefined ? error.name : `${kind} ${error.code}`
  }
  return 'none'
}

export async function scenario(vin, { formats = ['gif', 'mp4'], image = true } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'vin-scenario-'))
  const pipeline = await vin.VideoPipeline.fromConfig(config, { device: 'cpu', threads: 1, seed: 11, defaults: { width: 32, height: 32, numInferenceSteps: 2, guidanceScale: 2 } })
  try {
    const options = { prompt: 'a red circle bounces', numFrames: 16, seed: 3 }
    const video = await pipeline.generate({ ...options, scheduler: vin.DDIMScheduler.fromConfig() })
    const { latents } = video
    const seen = { latents: hash(latents.data), own: latents.data instanceof Float32Array, files: {}, errors: {} }
    for (const format of formats) {
      try {
        seen.files[format] = hash(await video.toBuffer(format))
      } catch (error) {
        seen.files[format] = error.code ?? String(error)
      }
    }
    // Its own latents, tensors and frames come back as arguments.
    seen.again = hash((await pipeline.generate({ ...options, latents, outputType: 'latents' })).latents.data)
    const tensor = vin.Tensor.from(latents)
    seen.tensor = [tensor instanceof vin.Tensor, hash((await pipeline.generate({ ...options, latents: tensor, outputType: 'latents' })).latents.data)]
    tensor.dispose()
    const first = (await video.frames().next()).value
    seen.frame = [first.data instanceof Uint8Array, hash(first.data)]
    if (image) {
      const apng = join(folder, 'first.png')
      writeFileSync(apng, await video.toBuffer('apng'))
      seen.image = hash((await pipeline.generate({ ...options, image: apng, outputType: 'latents' })).latents.data)
    }
    const resumed = await pipeline.generate({ ...options, resume: join(folder, 'states'), outputType: 'latents' })
    seen.resumed = hash(resumed.latents.data)
    await video.save(join(folder, 'kept.safetensors'))
    const opened = await vin.openLatents(pipeline, join(folder, 'kept.safetensors'))
    seen.opened = hash(opened.latents.data)

    writeFileSync(join(folder, 'damaged.safetensors'), 'no such thing')
    seen.errors.argument = await caught(vin, () => pipeline.generate({ ...options, numFrames: 0 }))
    seen.errors.format = await caught(vin, () => vin.openLatents(pipeline, join(folder, 'damaged.safetensors')))
    seen.errors.disk = await caught(vin, () => video.save(join(folder, 'nowhere', 'out.gif')))
    seen.errors.missing = await caught(vin, () => vin.VideoPipeline.fromPretrained(join(folder, 'nowhere')))
    seen.broken = (await vin.doctor()).checks.filter(({ status }) => status === 'broken')
    seen.errors.aborted = await caught(vin, () => pipeline.generate({ ...options, signal: AbortSignal.abort() }))
    return seen
  } finally {
    await pipeline.dispose()
    rmSync(folder, { recursive: true, force: true })
  }
}
